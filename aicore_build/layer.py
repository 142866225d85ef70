"""Build contexts as reproducible tars: members sorted, owners, times and modes fixed."""

import io
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

MEMBER_TIME = 1575360000
"""2019-12-03, as in Metaflow's packages; not 0, since zip files can't hold years before 1980."""


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
