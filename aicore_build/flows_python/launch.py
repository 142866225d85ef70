"""Runs a flow, with Metaflow as aicore-build needs it.

    python launch.py FOLDER flow.py …

Runs in the flow's Python. FOLDER takes what Metaflow would upload to S3: of a generator, that is
the code package alone, named by its hash. `-` leaves S3 as it is.
"""

import runpy
import sys
from pathlib import Path
from typing import Any, Iterable


def save_bytes(_: Any, paths_and_bytes: Iterable[Any], **__: Any) -> None:
    """Write what is to be saved."""
    for path, content in paths_and_bytes:
        file = content[0] if isinstance(content, tuple) else content
        (Path(FOLDER) / Path(path).name).write_bytes(file.read())


def is_file(_: Any, paths: Iterable[str]) -> Any:
    """Nothing is there yet."""
    return [False for _ in paths]


def forget_git() -> None:
    """Leave the commit out of the code package, which would be another after each `git commit`.

    Metaflow since 2.16 records it there.
    """
    try:
        from metaflow import metaflow_git  # noqa: PLC0415 - before 2.16, there is none
    except ImportError:
        return
    metaflow_git._git_info_cache = {}


if __name__ == "__main__":
    FOLDER = sys.argv[1]
    del sys.argv[:2]
    # As `python flow.py` has it: modules beside the flow are found.
    sys.path[0] = str((Path.cwd() / sys.argv[0]).parent)
    forget_git()
    if FOLDER != "-":
        from metaflow.plugins.datastores.s3_storage import S3Storage

        S3Storage.save_bytes = save_bytes
        S3Storage.is_file = is_file
    runpy.run_path(sys.argv[0], run_name="__main__")
