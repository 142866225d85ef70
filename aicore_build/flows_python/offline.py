"""Runs a flow with a folder in the place of S3: what Metaflow would upload is written there.

    python offline.py FOLDER flow.py …

Runs in the flow's Python. A generator uploads the code package alone, named by its hash.
"""

import runpy
import sys
from pathlib import Path
from typing import Any, Iterable


def save_bytes(_: Any, paths_and_bytes: Iterable[Any], **__: Any) -> None:
    """Write what is to be saved."""
    for path, content in paths_and_bytes:
        file = content[0] if isinstance(content, tuple) else content
        (FOLDER / Path(path).name).write_bytes(file.read())


def is_file(_: Any, paths: Iterable[str]) -> Any:
    """Nothing is there yet."""
    return [False for _ in paths]


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1])
    del sys.argv[:2]
    # As `python flow.py` has it: modules beside the flow are found.
    sys.path[0] = str((Path.cwd() / sys.argv[0]).parent)
    from metaflow.plugins.datastores.s3_storage import S3Storage

    S3Storage.save_bytes = save_bytes
    S3Storage.is_file = is_file
    runpy.run_path(sys.argv[0], run_name="__main__")
