"""The code package, made on this machine by Metaflow itself: no S3, no network."""

import hashlib
import os
from pathlib import Path

from aicore_build.errors import PackageError
from aicore_build.flow import Flow, metaflow_environment, shorten_traceback
from aicore_build.metaflow_call import run_metaflow
from aicore_build.process import ProcessError


def save_package(flow: Flow, path: Path, timeout: float) -> str:
    """Let Metaflow write the code package to a file: byte for byte what `prod` uploads.

    Args:
        flow: as it was read.
        path: the file to write.
        timeout: seconds.

    Returns:
        The file's sha1, by which Metaflow names packages.

    Raises:
        PackageError: Metaflow failed, or wrote none.
    """
    # @kubernetes asks for S3 when it is set up; any root will do, since nothing is uploaded.
    arguments = ["--datastore=s3", "--datastore-root=s3://aicore-build/package"]
    arguments += ["package", "save", str(path)]
    environment = metaflow_environment(os.environ)
    try:
        run_metaflow(flow.call, arguments, environment=environment, timeout=timeout)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha1").hexdigest()
    except ProcessError as error:
        said = shorten_traceback(error.stderr, flow.script.parent)
        raise PackageError(
            f"Metaflow could not pack the code of {flow.script.name}: {error.reason}.\n{said}"
        ) from error
    except FileNotFoundError as error:
        raise PackageError(
            f"Metaflow packed the code of {flow.script.name}, but wrote no file.\n"
            f"See what it says: {flow.python} {flow.script.name} package save job.tar"
        ) from error
