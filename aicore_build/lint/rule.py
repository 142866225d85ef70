"""What a rule is, and the table that the rules are written into."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aicore_build.lint.finding import Finding, Severity
from aicore_build.lint.place import Place

Hit = tuple[Place, str]
"""Where it is, and what is wrong there."""

Check = Callable[[Place], Iterator[Hit]]
"""Looks at a document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that is asked of a workflow template."""

    code: str
    """Stable: `AIC005`."""

    severity: Severity

    title: str
    """What is asked, as a heading."""

    why: str
    fix: str

    source: str
    """Where it comes from; Markdown with addresses of public documentation."""

    check: Check

    def findings(self, document: Place) -> Iterator[Finding]:
        """What it says of a document."""
        for place, message in self.check(document):
            yield self.finding(place, message)

    def finding(self, place: Place, message: str) -> Finding:
        """What it says of a place."""
        return Finding(
            code=self.code,
            severity=self.severity,
            path=place.path,
            message=message,
            why=self.why,
            fix=self.fix,
        )


class RuleTable:
    """The rules of one file, in the order of their codes."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def rule(
        self, code: str, severity: Severity, title: str, *, why: str, fix: str, source: str
    ) -> Callable[[Check], Check]:
        """Make a rule of a check."""

        def register(check: Check) -> Check:
            self.rules.append(
                Rule(
                    code=code,
                    severity=severity,
                    title=title,
                    why=why,
                    fix=fix,
                    source=source,
                    check=check,
                )
            )
            return check

        return register


def elsewhere(_document: Place) -> Iterator[Hit]:
    """The check of a rule whose findings are made where more than one document is known."""
    yield from ()
