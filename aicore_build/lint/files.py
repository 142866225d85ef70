"""`aicore-build lint`: check the workflow templates of files and folders."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aicore_build.errors import LintError
from aicore_build.lint.aicore import KIND
from aicore_build.lint.documents import Document, UnreadableError, read_documents
from aicore_build.lint.finding import Finding, Severity
from aicore_build.lint.place import Place
from aicore_build.lint.report import LintReport, PlacedFinding
from aicore_build.lint.rules import BY_CODE, in_order, lint
from aicore_build.lint.structure import check_structure
from aicore_build.lock import template_path
from aicore_build.settings import Settings

SUFFIXES = (".json", ".yaml", ".yml")
STDIN = "<stdin>"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """A file, and its text or why it has none."""

    name: str
    text: str
    fault: str | None = None


def lint_files(paths: Iterable[Path], *, ignore: frozenset[str], strict: bool) -> LintReport:
    """Check files, all workflow templates in folders, and for `-` what stdin has.

    Raises:
        LintError: a file can't be opened, or a folder holds none that could be checked.
    """
    contents = [_read(path) for path in _files(paths)]
    findings: list[PlacedFinding] = []
    names: dict[str, str] = {}
    checked = 0
    for content in contents:
        try:
            documents = _documents(content)
        except UnreadableError as error:
            if "AIC028" not in ignore:
                findings.append(_unreadable(content.name, error))
            continue
        for document in documents:
            checked += _is_template(document)
            found = _check(document, ignore, _duplicate(document, content.name, names))
            findings += (_placed(content.name, document, finding) for finding in found)
    return LintReport(
        files=tuple(content.name for content in contents),
        checked=checked,
        findings=tuple(findings),
        strict=strict,
    )


def flow_template(script: Path, settings: Settings) -> Path:
    """The workflow template of a flow: that of prod, else that of dev.

    Raises:
        LintError: there is none yet.
    """
    prod = template_path(script, settings)
    dev = script.resolve().with_name(f"{script.stem}-dev.json")
    found = next((path for path in (prod, dev) if path.is_file()), None)
    if found is None:
        raise LintError(
            f"There is no workflow template {prod}.\n"
            "`aicore-build prod` writes it; or name the file: aicore-build lint FILE."
        )
    return found


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())
        if not inside:
            raise LintError(
                f"The folder {path} holds no file that ends in {', '.join(SUFFIXES)}.\n"
                "Name the folder that AI Core syncs; folders in it are not looked into."
            )
        yield from inside


def _read(path: Path) -> _Content:
    name = STDIN if str(path) == "-" else str(path)
    try:
        raw = sys.stdin.buffer.read() if name == STDIN else path.read_bytes()
    except OSError as error:
        raise LintError(
            f"{path} can't be read: {error.strerror}.\nName a file that can."
        ) from error
    try:
        return _Content(name=name, text=raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return _Content(name=name, text="", fault=f"no text in UTF-8, at byte {error.start}")


def _documents(content: _Content) -> tuple[Document, ...]:
    if content.fault:
        raise UnreadableError(content.fault, None)
    return read_documents(content.name, content.text)


def _is_template(document: Document) -> bool:
    return isinstance(document.value, dict) and document.value.get("kind") == KIND


def _duplicate(document: Document, file: str, names: dict[str, str]) -> list[Finding]:
    """The finding that another document has this name, which is then known."""
    place = Place(document.value)["metadata"]["name"]
    if not _is_template(document) or not place.text:
        return []
    if place.text not in names:
        names[place.text] = file
        return []
    return [
        BY_CODE["AIC003"].finding(
            place, f"{place.text} is the name of another, in {names[place.text]}"
        )
    ]


def _check(document: Document, ignore: frozenset[str], more: list[Finding]) -> Iterable[Finding]:
    found = [*lint(document.value, ignore=ignore), *more]
    if _is_template(document):
        known = {finding.path for finding in found if finding.severity is Severity.ERROR}
        found += (
            finding for finding in check_structure(document.value) if finding.path not in known
        )
    return in_order(document.value, (finding for finding in found if finding.code not in ignore))


def _placed(file: str, document: Document, finding: Finding) -> PlacedFinding:
    line, column = document.position(finding.path) or (None, None)
    return PlacedFinding(
        file=file, document=document.number, line=line, column=column, finding=finding
    )


def _unreadable(file: str, error: UnreadableError) -> PlacedFinding:
    line, column = error.position or (None, None)
    finding = BY_CODE["AIC028"].finding(Place(None), error.reason)
    return PlacedFinding(file=file, document=1, line=line, column=column, finding=finding)
