"""What `dev` and `prod` do with findings in the workflow template that they are about to write.

They ask the rules alone. The types and keys that `check_structure` looks at come from the generator
and from `complete`, not from the user, and its models take longer to import than prod takes for a
flow that hasn't changed.
"""

from collections.abc import Collection
from itertools import groupby
from pathlib import Path

from aicore_build.errors import LintError
from aicore_build.lint.finding import Finding, Severity
from aicore_build.lint.rules import lint
from aicore_build.progress import Reporter
from aicore_build.workflow import Json


def refuse_errors(
    document: Json, path: Path, reporter: Reporter, *, ignore: Collection[str]
) -> None:
    """Refuse a workflow template with errors, and tell of warnings, once for each code.

    Args:
        document: as it is to be written.
        path: where to.
        reporter: is told of the warnings.
        ignore: codes of rules that are left out.

    Raises:
        LintError: there are errors; names all of them.
    """
    found = lint(document, ignore=ignore)
    warnings = _of(found, Severity.WARNING)
    for code, group in groupby(warnings, key=lambda finding: finding.code):
        same = list(group)
        messages = "; ".join(dict.fromkeys(finding.message for finding in same))
        reporter.note(f"{code}: {messages}. {same[0].fix}")
    if errors := _of(found, Severity.ERROR):
        lines = [
            f"  {error.code} {error.where}: {error.message}\n    {error.fix}" for error in errors
        ]
        raise LintError(
            f"SAP AI Core would reject the workflow template; {path} was not written.\n"
            + "\n".join(lines)
        )


def _of(findings: tuple[Finding, ...], severity: Severity) -> list[Finding]:
    """Those of a severity, by code."""
    same = (finding for finding in findings if finding.severity is severity)
    return sorted(same, key=lambda finding: finding.code)
