"""All rules, and what they say of a document. Pure."""

from collections.abc import Collection, Iterable
from typing import Any, Final

from aicore_build.errors import SettingsError
from aicore_build.lint import aicore, argo, kubernetes, secret_values
from aicore_build.lint.finding import Finding, Path
from aicore_build.lint.place import Place
from aicore_build.lint.rule import Rule
from aicore_build.settings import did_you_mean

_TABLES = (aicore.TABLE, secret_values.TABLE, argo.TABLE, kubernetes.TABLE)

RULES: Final[tuple[Rule, ...]] = tuple(
    sorted((rule for table in _TABLES for rule in table.rules), key=lambda rule: rule.code)
)

BY_CODE: Final = {rule.code: rule for rule in RULES}


def lint(document: Any, *, ignore: Collection[str] = frozenset()) -> tuple[Finding, ...]:  # noqa: ANN401 - any JSON
    """What the rules say of a document, in its order.

    Args:
        document: as it was read from JSON or YAML.
        ignore: codes of rules that are left out.
    """
    place = Place(document)
    if aicore.is_other_kind(place):
        wanted: tuple[str, ...] = (aicore.NOT_CHECKED,)
    elif place["kind"] or place["spec"]:
        wanted = tuple(code for code in BY_CODE if code != aicore.NOT_CHECKED)
    else:
        wanted = ("AIC001",)
    found = [
        finding
        for code in wanted
        if code not in ignore
        for finding in BY_CODE[code].findings(place)
    ]
    return in_order(document, dict.fromkeys(found))


def in_order(document: Any, findings: Iterable[Finding]) -> tuple[Finding, ...]:  # noqa: ANN401
    """Findings in the order of what they are of; what is missing comes last where it should be."""
    return tuple(
        sorted(findings, key=lambda finding: (_position(document, finding.path), finding.code))
    )


def _position(document: Any, path: Path) -> tuple[int, ...]:  # noqa: ANN401 - any JSON
    position = []
    for part in path:
        if isinstance(document, dict) and part in document:
            position.append(list(document).index(part))
            document = document[part]
        elif isinstance(document, list) and isinstance(part, int) and part < len(document):
            position.append(part)
            document = document[part]
        else:
            position.append(1 << 30)
            document = None
    return tuple(position)


def check_codes(codes: Iterable[str]) -> frozenset[str]:
    """Codes that are to be left out.

    Raises:
        SettingsError: there is no such code.
    """
    codes = frozenset(codes)
    for code in sorted(codes - BY_CODE.keys()):
        raise SettingsError(
            f"There is no lint code {code}.{did_you_mean(code.upper(), BY_CODE)}\n"
            f"Known: {', '.join(BY_CODE)}."
        )
    return codes
