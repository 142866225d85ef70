"""What two images were made from → what differs, named for people. Pure."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from aicore_build.inspection import is_metaflows_own
from aicore_build.layer import Entry

if TYPE_CHECKING:
    from io import BufferedReader

Inputs = Mapping[str, Any]
"""By name, what an image is made from: texts, and lists and tables of them; nothing secret."""


class Input(StrEnum):
    """What may differ, in words for people."""

    IMAGE = "image"
    RECORD = "aicore-build"
    PLATFORM = "platform"
    BASE_IMAGE = "base image"
    LIBRARY = "library"
    APT_PACKAGE = "apt package"
    DOCKERFILE = "Dockerfile"
    CONTEXT = "build context"
    BUILDER = "builder"
    DEV_IMAGE = "dev image"
    CODE_PACKAGE = "code package"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference; before is what was pushed last, after what is here now."""

    input: Input

    name: str | None = None
    """Which one, where there are several of its kind."""

    before: str | None = None
    """None where it was not there."""

    after: str | None = None
    note: str | None = None
    """What to say where before and after don't."""

    def __str__(self) -> str:
        what = f"{self.input} {self.name}" if self.name else str(self.input)
        if self.note:
            return f"{what}: {self.note}"
        if self.before is None:
            return f"{what} added"
        if self.after is None:
            return f"{what} removed"
        if self.input in {Input.DOCKERFILE, Input.CONTEXT, Input.FILE}:  # nobody reads hashes
            return f"{what} changed"
        return f"{what}: {_short(self.before)} → {_short(self.after)}"

    def as_json(self) -> dict[str, str | None]:
        """For `--json`; documented in docs/json.md."""
        return {
            "input": str(self.input),
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "note": self.note,
        }


_SCALARS = {
    "platform": Input.PLATFORM,
    "builder": Input.BUILDER,
    "base": Input.DEV_IMAGE,
    "package": Input.CODE_PACKAGE,
}


def compare_inputs(old: Inputs, new: Inputs) -> tuple[Change, ...]:
    """Name what differs between what an image was made from, and what it would be made from.

    Nothing is named only where they are equal.
    """
    if old == new:
        return ()
    if any(old.get(key) != new.get(key) for key in ("variant", "layout")):
        return (Change(input=Input.RECORD, note="another version of it made the image"),)
    changes = [
        Change(input=kind, before=str(old.get(key)), after=str(new.get(key)))
        for key, kind in _SCALARS.items()
        if old.get(key) != new.get(key)
    ]
    changes += _named(Input.BASE_IMAGE, old.get("bases", {}), new.get("bases", {}))
    changes += _lines(Input.LIBRARY, old.get("requirements", []), new.get("requirements", []))
    changes += _lines(Input.APT_PACKAGE, old.get("apt", []), new.get("apt", []))
    changes += _dockerfile(old, new, changes)
    if not changes and old.get("context") != new.get("context"):
        changes.append(Change(input=Input.CONTEXT, before=old["context"], after=new["context"]))
    return tuple(changes) or (Change(input=Input.RECORD, note="it records something else"),)


def _dockerfile(old: Inputs, new: Inputs, known: Iterable[Change]) -> list[Change]:
    """That the Dockerfile differs; unless it is ours and follows from what is known to differ."""
    before, after = old.get("dockerfile"), new.get("dockerfile")
    follows = {Input.APT_PACKAGE, Input.BASE_IMAGE} & {change.input for change in known}
    if before == after or (new.get("requirements") and follows):
        return []
    return [Change(input=Input.DOCKERFILE, before=str(before), after=str(after))]


def _named(kind: Input, old: object, new: object) -> Iterator[Change]:
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        if old != new:
            yield _too_many(kind)
        return
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield Change(input=kind, name=name, before=old.get(name), after=new.get(name))


def _lines(kind: Input, old: object, new: object) -> Iterator[Change]:
    if not isinstance(old, list) or not isinstance(new, list):
        if old != new:
            yield _too_many(kind)
        return
    found = [*_named(kind, _by_name(old), _by_name(new))]
    if not found and old != new:
        yield Change(input=kind, note="their order changed")
    yield from found


def _too_many(kind: Input) -> Change:
    return Change(input=kind, note="some changed; they are too many for the image's label")


def _by_name(lines: Iterable[str]) -> dict[str, str]:
    """Lines of a requirements file by the library's name; other lines by themselves."""
    found: dict[str, str] = {}
    for line in lines:
        name = library_name(line)
        found[name] = f"{found[name]}, {line}" if name in found else line
    return found


def library_name(line: str) -> str:
    """The name of a requirement as pip compares it; the line itself where it has none."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*(?![\w+:/.-])", line)
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else line


def fingerprint_files(entries: Iterable[Entry], home: str) -> dict[str, str]:
    """The sha256 of each file below a folder, and whether it may be executed, by its name."""
    found = {}
    for entry in entries:
        if entry.open and entry.name.startswith(f"{home}/"):
            with entry.open() as content:
                digest = hashlib.file_digest(cast("BufferedReader", content), "sha256").hexdigest()
            executable = " executable" if entry.mode & 0o100 else ""
            found[entry.name.removeprefix(f"{home}/")] = f"sha256:{digest}{executable}"
    return found


def compare_files(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Change, ...]:
    """Name the files that differ; Metaflow's own in one."""
    changes = [*_named(Input.FILE, old, new)]
    theirs = [change for change in changes if is_metaflows_own(str(change.name))]
    ours = [change for change in changes if change not in theirs]
    if theirs:
        names = ", ".join(str(change.name) for change in theirs[:3])
        more = f" and {len(theirs) - 3} more" if len(theirs) > 3 else ""  # noqa: PLR2004
        ours.append(Change(input=Input.FILE, note=f"Metaflow's own: {names}{more}"))
    if not changes:
        note = "none differs, only their order, owners or modes"
        return (Change(input=Input.FILE, note=note),)
    return tuple(ours)


def _short(text: str) -> str:
    """Digests in a length that people compare."""
    text = re.sub(r"\bsha256:([0-9a-f]{12})[0-9a-f]{52}", r"sha256:\1…", text)
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28}\b", r"\1…", text)
