"""What a rule says of one place in a workflow template."""

from dataclasses import dataclass
from enum import StrEnum

Path = tuple[str | int, ...]
"""Keys and indexes that lead from a document to a place in it."""


class Severity(StrEnum):
    """How bad it is: an error is rejected or can't run, a warning may, a note is good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One place in a workflow template, and what is wrong there."""

    code: str
    """Stable: `AIC005`."""

    severity: Severity
    path: Path

    message: str
    """What is wrong, with the value that is there."""

    why: str
    """Why it matters on SAP AI Core."""

    fix: str
    """What to do; names this tool's setting where there is one."""

    @property
    def where(self) -> str:
        """The path for people: `spec.templates[2].container.image`."""
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return text.removeprefix(".") or "the document"
