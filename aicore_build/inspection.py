"""Files of a code package → what is in it: what made it big, secrets, modes. Pure."""

import fnmatch
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from aicore_build.layer import Entry
from aicore_build.secret_scan import Secret, scan_content, scan_name

READ_BY_OTHERS = 0o004

_METAFLOWS_CODE = ("metaflow/", "metaflow_extensions/", ".mf_code/")
_METAFLOWS_RECORDS = ("INFO", ".mf_install", ".mf_meta/", "CONFIG_PARAMETERS")

_SITE_PACKAGES = re.compile(r"(?:(?P<root>.+)/)?(?:lib(?:64)?/python[\d.]+|Lib)/site-packages/.*")


class GroupKind(StrEnum):
    """What makes packages big, in words for people."""

    VIRTUAL_ENVIRONMENT = "virtual environment"
    VERSION_CONTROL = "version control"
    CACHE = "cache"
    NOTEBOOK = "notebook"
    DATA = "data"


_FOLDERS = {
    **dict.fromkeys((".git", ".hg", ".svn"), GroupKind.VERSION_CONTROL),
    **dict.fromkeys(
        (
            *("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".cache", ".tox"),
            *(".nox", ".ipynb_checkpoints", "node_modules"),
        ),
        GroupKind.CACHE,
    ),
}
_SUFFIXES = {
    ".ipynb": GroupKind.NOTEBOOK,
    ".pyc": GroupKind.CACHE,
    **dict.fromkeys(
        (
            *(".arrow", ".avro", ".csv", ".db", ".feather", ".h5", ".hdf5", ".jsonl", ".npy"),
            *(".npz", ".orc", ".parquet", ".rds", ".rdata", ".sqlite", ".tsv", ".xls", ".xlsx"),
            *(".bin", ".ckpt", ".joblib", ".onnx", ".pickle", ".pkl", ".pt", ".pth"),
            *(".safetensors", ".gz", ".tar", ".tgz", ".zip", ".gif", ".jpeg", ".jpg", ".mp3"),
            *(".mp4", ".png", ".tif", ".tiff", ".wav"),
        ),
        GroupKind.DATA,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of the package."""

    name: str
    size: int
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Files that are there for one reason, which may be none."""

    kind: GroupKind

    path: str
    """The folder that they are in, or `*` and their suffix."""

    files: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is in a code package; the largest is first."""

    files: tuple[File, ...]
    """The user's own, without those of the groups' folders."""

    groups: tuple[Group, ...]

    metaflow_files: int
    metaflow_size: int

    total_files: int
    total_size: int
    """Bytes of all files, not compressed."""

    secrets: tuple[Secret, ...]
    """In the order of the files' names."""

    unreadable: tuple[str, ...]
    """Names of files whose mode lets only their owner or group read them."""


def inspect_package(entries: Iterable[Entry]) -> Inspection:
    """Look at the files of a package.

    Args:
        entries: with their modes as they are in the package.
    """
    found = [entry for entry in entries if entry.open]
    own = [entry for entry in found if not is_metaflows_own(entry.name)]
    roots = _environments(entry.name for entry in own)
    groups: dict[tuple[GroupKind, str], list[Entry]] = {}
    listed = []
    for entry in own:
        group = group_of(entry.name, roots)
        if group:
            groups.setdefault(group, []).append(entry)
        if group is None or group[1].startswith("*"):
            listed.append(entry)
    return Inspection(
        files=tuple(
            File(name=entry.name, size=entry.size, mode=entry.mode)
            for entry in sorted(listed, key=lambda entry: (-entry.size, entry.name))
        ),
        groups=tuple(
            sorted(
                (
                    Group(kind=kind, path=path, files=len(its), size=sum(e.size for e in its))
                    for (kind, path), its in groups.items()
                ),
                key=lambda group: (-group.size, group.path),
            )
        ),
        metaflow_files=len(found) - len(own),
        metaflow_size=sum(e.size for e in found) - sum(e.size for e in own),
        total_files=len(found),
        total_size=sum(e.size for e in found),
        secrets=tuple(sorted(find_secrets(found))),
        unreadable=tuple(sorted(e.name for e in own if not e.mode & READ_BY_OTHERS)),
    )


def find_secrets(entries: Iterable[Entry]) -> Iterator[Secret]:
    """Look for secrets in a package's files, but not in Metaflow's own code."""
    for entry in entries:
        if entry.open is None or entry.name.startswith(_METAFLOWS_CODE):
            continue
        if named := scan_name(entry.name, entry.size):
            yield named
        with entry.open() as content:
            yield from scan_content(entry.name, content)


def is_allowed(secret: Secret, patterns: Iterable[str]) -> bool:
    """Whether the settings name a secret's file: with its folders, or without them."""
    names = (secret.file, PurePosixPath(secret.file).name)
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)


def is_metaflows_own(name: str) -> bool:
    """Whether Metaflow put a file into the package, and not the user: its code and its records."""
    return name.startswith(_METAFLOWS_CODE) or any(
        name == record or (record.endswith("/") and name.startswith(record))
        for record in _METAFLOWS_RECORDS
    )


def group_of(name: str, environments: tuple[str, ...] = ()) -> tuple[GroupKind, str] | None:
    """What a file may have made big, and where; None for a file like any other.

    Args:
        name: the file.
        environments: folders that are virtual environments, each ended by `/`.
    """
    for root in environments:
        if name.startswith(root):
            return GroupKind.VIRTUAL_ENVIRONMENT, root
    parts = PurePosixPath(name).parts
    for depth, part in enumerate(parts[:-1], 1):
        if part in _FOLDERS:
            return _FOLDERS[part], f"{'/'.join(parts[:depth])}/"
    suffix = PurePosixPath(name).suffix.lower()
    return (_SUFFIXES[suffix], f"*{suffix}") if suffix in _SUFFIXES else None


def _environments(names: Iterable[str]) -> tuple[str, ...]:
    """The folders that are virtual environments, told by their `site-packages`."""
    roots = {match["root"] for name in names if (match := _SITE_PACKAGES.fullmatch(name))}
    return tuple(sorted(f"{root}/" for root in roots if root))
