"""How a registry asks who we are, and what it is answered.

https://distribution.github.io/distribution/spec/auth/
"""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass

from aicore_build.credentials import Credentials

_CHALLENGE_PART = re.compile(
    r"""(?P<name>[\w-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,"=]+))"""
    r"""|(?P<kind>[A-Za-z][\w-]*)"""
)
"""A parameter, or the kind of the challenge whose parameters follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """How a registry wants to be told who we are."""

    kind: str
    """`basic` or `bearer`."""

    realm: str = ""
    service: str = ""

    scopes: tuple[str, ...] = ()
    """What a token has to allow for the request that was refused."""


def parse_challenge(header: str) -> Challenge | None:
    """Parse WWW-Authenticate, which may name several ways; None if we know none of them."""
    found: dict[str, dict[str, str]] = {}
    values: dict[str, str] = {}
    for part in _CHALLENGE_PART.finditer(header):
        if part["kind"]:
            values = found.setdefault(part["kind"].lower(), {})
        else:
            quoted = re.sub(r"\\(.)", r"\1", part["quoted"] or "")
            values[part["name"].lower()] = part["bare"] or quoted
    bearer = found.get("bearer", {})
    if "realm" in bearer:
        return Challenge(
            kind="bearer",
            realm=bearer["realm"],
            service=bearer.get("service", ""),
            scopes=tuple(bearer.get("scope", "").split()),
        )
    return Challenge(kind="basic") if "basic" in found else None


def joined(ours: tuple[str, ...], asked: Iterable[str]) -> tuple[str, ...]:
    """Our scopes, and those of a challenge that they don't contain."""
    return (*ours, *(scope for scope in asked if not any(_contains(s, scope) for s in ours)))


def _contains(scope: str, other: str) -> bool:
    name, _, actions = scope.rpartition(":")
    other_name, _, other_actions = other.rpartition(":")
    return name == other_name and set(other_actions.split(",")) <= set(actions.split(","))


def basic(credentials: Credentials | None) -> str | None:
    """The header's value for basic authentication; None without a user."""
    if credentials is None or not credentials.username:
        return None
    login = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(login).decode()}"
