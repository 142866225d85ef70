"""Files → secrets in them: by what only a secret looks like, and by names of files. Pure.

A name of a variable, a placeholder and an example of a documentation are no secrets: an alarm that
is false teaches people to allow everything. What is found is never repeated: only where it is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import IO

_PIECE = 1024 * 1024
"""Bytes of a file that are looked at together."""

_OVERLAP = 8192
"""Bytes of the piece before, so that what lies across its end is found: longer than any match."""


class SecretKind(StrEnum):
    """What a secret is, in words for people."""

    PRIVATE_KEY = "private key"
    AWS_KEY_ID = "AWS access key ID"
    AWS_SECRET = "AWS secret access key"  # noqa: S105 - a name
    CLIENT_SECRET = "client secret"  # noqa: S105 - a name
    TOKEN = "token"  # noqa: S105 - a name
    PASSWORD_IN_URL = "password in a URL"  # noqa: S105 - a name
    ENVIRONMENT_FILE = "environment file"
    CREDENTIALS_FILE = "credentials file"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Secret:
    """Where one is; not what it is."""

    file: str

    line: int
    """From 1 on; 0 where the whole file is meant."""

    kind: SecretKind

    def __str__(self) -> str:
        where = f", line {self.line}" if self.line else ""
        return f"{self.file}{where}: {self.kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pattern:
    kind: SecretKind

    marks: tuple[bytes, ...]
    """In lower case; where none of them is, the expression, which is slower, is not tried."""

    expression: re.Pattern[bytes]


_QUOTE = rb"(?:\\?[\"'])"

_PATTERNS = (
    _Pattern(
        kind=SecretKind.PRIVATE_KEY,
        marks=(b"private key",),
        # The key itself has to follow: code that reads keys has the heading alone.
        expression=re.compile(
            rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\\[nr]|[\s\"',+])*"
            rb"(?:(?:Proc-Type|DEK-Info|Version|Comment): ?[^\n\\]{0,100}(?:\\[nr]|\s)+)*"
            rb"[A-Za-z0-9+/=]{32}"
        ),
    ),
    _Pattern(
        kind=SecretKind.AWS_KEY_ID,
        marks=(b"akia", b"asia"),
        expression=re.compile(
            rb"(?<![A-Za-z0-9+/])(?:AKIA|ASIA)(?![A-Z]*EXAMPLE|[A-Z0-9]*EXAMPLE|[A-Z]{16})"
            rb"[A-Z0-9]{16}(?![A-Za-z0-9+/])"
        ),
    ),
    _Pattern(
        kind=SecretKind.AWS_SECRET,
        marks=(b"secret",),
        expression=re.compile(
            rb"(?i:aws[_.-]?secret[_.-]?(?:access[_.-]?)?key|secret[_.-]?access[_.-]?key)"
            + _QUOTE
            + rb"?\]?\s{0,8}(?:[=:,]|=>)\s{0,8}"
            + _QUOTE
            + rb"?(?![A-Za-z0-9/+]*EXAMPLE)(?=[A-Za-z/+]*[0-9])(?=[^A-Z]*[A-Z])"
            rb"[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])"
        ),
    ),
    _Pattern(
        kind=SecretKind.CLIENT_SECRET,  # of the service keys of SAP BTP, and of OAuth in general
        marks=(b"clientsecret", b"client_secret"),
        expression=re.compile(
            rb"(?i:client_?secret)"
            + _QUOTE
            + rb"?\]?\s{0,8}[=:]\s{0,8}"
            + _QUOTE
            + rb"(?![^\"'\\]*(?i:your|example|placeholder|secret|xxx))(?=[^\"'\\]*[0-9])"
            rb"(?=[^\"'\\]*[A-Za-z])[A-Za-z0-9_$=+/!|~.:-]{20,512}" + _QUOTE
        ),
    ),
    _Pattern(
        kind=SecretKind.TOKEN,
        marks=(
            *(b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-", b"hf_"),
            *(b"xoxa-", b"xoxb-", b"xoxp-", b"xoxr-", b"xoxs-", b"pypi-ageicHlwas".lower()),
            *(b"npm_", b"dckr_pat_", b"aiza", b"sk-proj-", b"sk-ant-", b"sk_live_", b"eyj"),
        ),
        expression=re.compile(
            rb"(?<![A-Za-z0-9_/+-])(?:"
            rb"gh[pousr]_[A-Za-z0-9]{36,255}"
            rb"|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"
            rb"|glpat-[A-Za-z0-9_-]{20,128}"
            rb"|hf_[A-Za-z]{34}"
            rb"|xox[abprs]-[0-9]{8,}-[A-Za-z0-9-]{20,200}"
            rb"|pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}"
            rb"|npm_[A-Za-z0-9]{36}"
            rb"|dckr_pat_[A-Za-z0-9_-]{27}"
            rb"|AIza[A-Za-z0-9_-]{35}"
            rb"|sk-proj-[A-Za-z0-9_-]{40,255}"
            rb"|sk-ant-[a-z0-9]{3,8}-[A-Za-z0-9_-]{60,255}"
            rb"|sk_live_[A-Za-z0-9]{24,}"
            rb"|eyJ[A-Za-z0-9_-]{12,2048}\.eyJ[A-Za-z0-9_-]{12,4096}\.[A-Za-z0-9_-]{20,1024}"
            rb")(?![A-Za-z0-9_-])"
        ),
    ),
    _Pattern(
        kind=SecretKind.PASSWORD_IN_URL,
        marks=(b"://",),
        expression=re.compile(
            rb"[A-Za-z0-9+.-]{0,20}://(?P<user>[^\s/:@\"'`<>{}\[\]$()|\\,;#?&]{0,128}):"
            rb"(?P<password>[^\s/@\"'`<>{}\[\]$()|\\,;#?]{3,256})@(?P<host>[A-Za-z0-9\[][\w.-]*)"
        ),
    ),
)

_PLACEHOLDER = re.compile(
    rb"(?:(?:my|your|the|some|a|db|api|aws|s3|proxy)?[-_.]?(?:super|access|auth)?[-_.]?"
    rb"(?:secret|token|pass|passw(?:or)?d|passphrase|pwd|pw|key|user|username|credentials?)"
    rb"|change[-_]?(?:me|it)|example|foo|bar|baz|test|xyz|abc|123|none|null|redacted|hidden"
    rb"|(.)\1*|\.+|%.*)",
    re.IGNORECASE,
)
_EXAMPLE_HOST = re.compile(
    rb"(?:.*\.)?example(?:\.(?:com|org|net))?|host(?:name)?|server|domain", re.I
)

_ENVIRONMENT_FILE = re.compile(r"\.env(?:\.[\w-]+)*|[\w.-]+\.env")
_NO_REAL_VALUES = re.compile(
    r".*\.(?:example|sample|template|tmpl|dist|defaults?|schema|py)(?:\.env)?"
)
_CREDENTIALS_FILE = re.compile(
    r"(?:.*/)?(?:[._]netrc|\.pgpass|\.pypirc|\.git-credentials|\.dockercfg|\.htpasswd"
    r"|id_(?:rsa|dsa|ecdsa|ed25519)|kubeconfig|credentials(?:\.(?:json|ya?ml|ini|toml|csv|txt))?"
    r"|[^/]+\.(?:p12|pfx|jks|keystore|kdbx|ppk)"
    r"|\.docker/config\.json|\.kube/config)"
)


def scan_name(name: str, size: int) -> Secret | None:
    """Tell a file that is a secret as a whole from its name.

    Args:
        name: with its folders, separated by `/`.
        size: in bytes; an empty file holds nothing.
    """
    base = PurePosixPath(name).name
    if size and _CREDENTIALS_FILE.fullmatch(name):
        return Secret(file=name, line=0, kind=SecretKind.CREDENTIALS_FILE)
    if size and _ENVIRONMENT_FILE.fullmatch(base) and not _NO_REAL_VALUES.fullmatch(base):
        return Secret(file=name, line=0, kind=SecretKind.ENVIRONMENT_FILE)
    return None


def scan_content(name: str, content: IO[bytes]) -> Iterator[Secret]:
    """Look for secrets in a text, a piece at a time; a binary file is not looked at.

    Args:
        name: of the file.
        content: its bytes, read from where it stands to its end.
    """
    window, start, line, seen = b"", 0, 1, set()
    while piece := content.read(_PIECE):
        if not start and not window and b"\0" in piece[:_OVERLAP]:
            return
        window += piece
        for kind, offset in _matches(window):
            found = Secret(file=name, line=line + window.count(b"\n", 0, offset), kind=kind)
            if (kind, start + offset) not in seen:
                seen.add((kind, start + offset))
                yield found
        cut = max(0, len(window) - _OVERLAP)
        line += window.count(b"\n", 0, cut)
        start += cut
        window = window[cut:]


def _matches(window: bytes) -> Iterator[tuple[SecretKind, int]]:
    lower = window.lower()
    for pattern in _PATTERNS:
        if any(mark in lower for mark in pattern.marks):
            for match in pattern.expression.finditer(window):
                if not _is_placeholder(match):
                    yield pattern.kind, match.start()


def _is_placeholder(match: re.Match[bytes]) -> bool:
    """Whether a password in a URL is one of an example, or the well-known one of a server."""
    groups = match.groupdict()
    if "password" not in groups:
        return False
    same = groups["password"].lower() == groups["user"].lower()
    return bool(
        same
        or _PLACEHOLDER.fullmatch(groups["password"])
        or _EXAMPLE_HOST.fullmatch(groups["host"])
    )
