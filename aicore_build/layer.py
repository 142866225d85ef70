"""Build contexts and layers as reproducible tars: members sorted, owners, times, modes fixed."""

import hashlib
import io
import os
import tarfile
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from aicore_build.reference import Digest

MEMBER_TIME = 1575360000
"""2019-12-03, as in Metaflow's packages; not 0, since zip files can't hold years before 1980."""

_BLOCK = 1024 * 1024
"""Bytes that are compressed at once: each block is a gzip member of its own."""

_WORKERS = min(4, os.cpu_count() or 1)
"""Threads that compress, while the next block is written and hashed."""

_LEVEL = 1
"""Of compression: at 100 Mbit/s, a better one costs more time than it saves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A compressed layer in a file; field names follow the OCI image spec."""

    path: Path

    digest: Digest
    """sha256 of the compressed tar: names the blob in the manifest."""

    diff_id: Digest
    """sha256 of the uncompressed tar: listed in the config's `rootfs.diff_ids`."""

    size: int
    """Bytes of the compressed tar, as the manifest's descriptor states them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file, folder or symbolic link of a tar."""

    name: str
    """Relative to the tar's root."""

    mode: int

    open: Callable[[], IO[bytes]] | None
    """Gives the content; None for a folder or link."""

    link: str = ""
    """Where a symbolic link points to."""

    size: int = 0
    """Bytes of the content."""


def text_entry(name: str, text: str | bytes, mode: int = 0o644) -> Entry:
    """Make the entry of a small file."""
    content = text.encode() if isinstance(text, str) else text
    return Entry(name=name, mode=mode, open=lambda: io.BytesIO(content), size=len(content))


def write_tar(out: IO[bytes], entries: Iterable[Entry]) -> None:
    """Write entries in the order of their names, each folder before what is in it.

    Folders that nobody named are there with mode 755; of two entries with one name the last counts.
    """
    named = {entry.name: entry for entry in entries}
    for name in tuple(named):
        for folder in list(PurePosixPath(name).parents)[:-1]:
            named.setdefault(str(folder), Entry(name=str(folder), mode=0o755, open=None))
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for _, entry in sorted(named.items()):
            info = tarfile.TarInfo(entry.name)
            info.mode = entry.mode
            info.mtime = MEMBER_TIME
            info.size = entry.size
            if entry.open is None:
                info.type = tarfile.SYMTYPE if entry.link else tarfile.DIRTYPE
                info.linkname = entry.link
                tar.addfile(info)
            else:
                with entry.open() as content:
                    tar.addfile(info, content)


def write_layer(path: Path, entries: Iterable[Entry]) -> Layer:
    """Write entries as a layer: equal entries give equal bytes, on any machine.

    They are compressed with libdeflate, in the version that the project pins: other than zlib and
    its kin, it does the same on every processor.
    """
    with path.open("wb") as file, ThreadPoolExecutor(_WORKERS) as workers:
        compressor = _Compressor(file, workers)
        write_tar(cast("IO[bytes]", compressor), entries)
        compressor.finish()
    return Layer(
        path=path,
        digest=Digest(f"sha256:{compressor.packed.hexdigest()}"),
        diff_id=Digest(f"sha256:{compressor.plain.hexdigest()}"),
        size=path.stat().st_size,
    )


class _Compressor:
    """What `tarfile` writes to: hashes, compresses in blocks, hashes again."""

    def __init__(self, file: IO[bytes], workers: ThreadPoolExecutor) -> None:
        self._file = file
        self._workers = workers
        self._members: deque[Future[bytearray]] = deque()
        self._waiting = bytearray()
        self._position = 0
        self.plain = hashlib.sha256()
        self.packed = hashlib.sha256()

    def tell(self) -> int:
        return self._position

    def write(self, data: bytes) -> int:
        self.plain.update(data)
        self._position += len(data)
        self._waiting += data
        while len(self._waiting) >= _BLOCK:
            self._compress(bytes(self._waiting[:_BLOCK]))
            del self._waiting[:_BLOCK]
        return len(data)

    def finish(self) -> None:
        if self._waiting:
            self._compress(bytes(self._waiting))
        while self._members:
            self._write_member()

    def _compress(self, block: bytes) -> None:
        import deflate  # only here  # noqa: PLC0415

        self._members.append(self._workers.submit(deflate.gzip_compress, block, _LEVEL))
        if len(self._members) > _WORKERS:  # so that memory is bounded
            self._write_member()

    def _write_member(self) -> None:
        member = self._members.popleft().result()
        self.packed.update(member)
        self._file.write(member)
