"""Code packages like Metaflow's, each with something of its own, so that none finds another's."""

import functools
import gzip
import io
import os
import tarfile
from importlib.metadata import files
from pathlib import Path

SUFFIXES = {".py", ".html", ".css", ".js"}
"""Of Metaflow's own files that are in every package."""

PIECE = 1024 * 1024


def write_package(path: Path, stamp: str) -> Path:
    """Write a `job.tar` such as a small flow's: Metaflow and little else."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, content in (*metaflow_files(), ("flow.py", f"# {stamp}\n".encode())):
            _add(tar, name, content)
    path.write_bytes(gzip.compress(plain.getvalue(), 3))
    return path


@functools.cache
def metaflow_files() -> tuple[tuple[str, bytes], ...]:
    found = [name for name in files("metaflow") or () if name.suffix in SUFFIXES]
    return tuple((str(name), Path(str(name.locate())).read_bytes()) for name in found)


def write_random_package(path: Path, size: int) -> Path:
    """Write a `job.tar` with one file of random data.

    Args:
        path: to write to.
        size: of the file, in bytes.
    """
    with (
        gzip.open(path, "wb", compresslevel=1) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        _add(tar, "flow.py", b"# random\n")
        info = tarfile.TarInfo("data.bin")
        info.size = size
        tar.addfile(info, Random(size))
    return path


class Random(io.RawIOBase):
    """A file of random data."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        given = self._left if size < 0 else min(size, self._left)
        self._left -= given
        return os.urandom(given)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
