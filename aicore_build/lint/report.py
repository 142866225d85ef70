"""What was found in files: counted, and placed by line and column."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from aicore_build.errors import LintError
from aicore_build.lint.finding import Finding, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedFinding:
    """A finding in a file."""

    file: str
    """As it was named; `<stdin>` for what was read from there."""

    document: int
    """Among the documents of the file, from 1."""

    line: int | None
    """From 1, like the column; None where it isn't known."""

    column: int | None
    finding: Finding

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "file": self.file,
            "document": self.document,
            "line": self.line,
            "column": self.column,
            **asdict(self.finding),
            "path": self.finding.where,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LintReport:
    """All of it, in the order of the files."""

    files: tuple[str, ...]

    checked: int
    """How many workflow templates."""

    findings: tuple[PlacedFinding, ...]

    strict: bool
    """Whether a warning is as bad as an error."""

    def count(self, severity: Severity) -> int:
        """How many there are of a severity."""
        return sum(placed.finding.severity is severity for placed in self.findings)

    @property
    def ok(self) -> bool:
        """Whether nothing was found that fails the command."""
        bad = [Severity.ERROR, Severity.WARNING] if self.strict else [Severity.ERROR]
        return not any(self.count(severity) for severity in bad)

    @property
    def summary(self) -> str:
        """One line: how much of what was found, and in what."""
        counts = Counter(placed.finding.severity for placed in self.findings)
        found = ", ".join(_plural(counts[severity], severity) for severity in Severity)
        templates = _plural(self.checked, "workflow template")
        return f"{found} in {templates} ({_plural(len(self.files), 'file')})"

    def refuse(self) -> None:
        """End the command where something was found that has to be mended.

        Raises:
            LintError: it has.
        """
        if not self.ok:
            raise LintError(
                f"{self.summary}.\nMend what is found, or leave a code out: --ignore CODE."
            )

    def as_json(self) -> dict[str, Any]:
        """For `--json`; documented in docs/json.md."""
        return {
            "schema": 1,
            "command": "lint",
            "ok": self.ok,
            "files": list(self.files),
            "checked": self.checked,
            "findings": [placed.as_json() for placed in self.findings],
        }


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
