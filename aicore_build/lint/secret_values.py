"""Secret values in a workflow template: found, and never shown."""

import re
from collections.abc import Iterator
from typing import Final

from aicore_build.lint.finding import Severity
from aicore_build.lint.place import Place
from aicore_build.lint.rule import Hit, RuleTable

TABLE = RuleTable()

_SHAPES: Final = {
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a token of GitHub": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{40,})"),
    "a token of GitLab": re.compile(r"\bglpat-[\w-]{20}"),
    "a token of Slack": re.compile(r"\bxox[abprs]-[\w-]{10,}"),
    "a JSON web token": re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"),
    "a password in an address": re.compile(
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@{}$]*:[^\s/@{}$<>]+@"
    ),
    "an API key": re.compile(r"\"x-api-key\"\s*:\s*\"[^\"{}$]+\"", re.IGNORECASE),
}

_NAME = re.compile(
    r"(?:^|[_.-])(?:SECRET|PASSWORD|PASSWD|PWD|TOKEN|API_?KEY|ACCESS_KEY|PRIVATE_KEY)$",
    re.IGNORECASE,
)
_HARMLESS = re.compile(
    r"\s*|[\d.]+|true|false|yes|no|none|null|/.*|<.*>", re.IGNORECASE | re.DOTALL
)
"""Values that are no secret whatever the name: numbers, switches, paths, gaps to be filled in."""


@TABLE.rule(
    "AIC029",
    Severity.ERROR,
    "There is no secret value in it",
    why="The workflow template is in git, and everybody who may see the executable can read it.",
    fix="Make a generic secret in the resource group and read it by `envFrom` or `secretKeyRef`; "
    "in a flow, `@kubernetes(secrets=[…])`. Then change the secret, which is in git by now.",
    source="SAP AI Core, [Consume Generic Secrets](https://github.com/SAP-docs/"
    "sap-artificial-intelligence/blob/main/docs/sap-ai-core/"
    "consume-generic-secrets-in-executions-or-deployments-185a324.md); shapes as published by "
    "[AWS](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html), "
    "[GitHub](https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/"
    "about-authentication-to-github) and others",
)
def secret_values(document: Place) -> Iterator[Hit]:
    for place in document.within():
        name, value = place["name"].text, place["value"]
        if _NAME.search(name) and _is_literal(value.value):
            yield value, f"{name} has its value written out"
        elif what := _shape(place.text):
            yield place, f"the text holds {what}"


def _is_literal(value: object) -> bool:
    if not isinstance(value, str) or "{{" in value or "$(" in value or "${" in value:
        return False
    return not _HARMLESS.fullmatch(value) and not _shape(value)


def _shape(text: str) -> str | None:
    return next((what for what, shape in _SHAPES.items() if shape.search(text)), None)
