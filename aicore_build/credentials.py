"""Credentials for a registry: what `docker login` left, in files or in credential helpers."""

import base64
import binascii
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aicore_build.errors import RegistryError
from aicore_build.reference import DOCKER_HUB

_DOCKER_HUB_KEYS = (
    "https://index.docker.io/v1/",
    DOCKER_HUB,
    "index.docker.io",
    "registry-1.docker.io",
)
"""Docker itself writes the first one, and asks helpers for it; people write the others."""

_TOKEN_USER = "<token>"  # noqa: S105 - what a helper calls itself that holds an identity token
_HELPER_TIMEOUT = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A user with a password, or an identity token that stands for both."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return "Credentials(…)"


def read_credentials(host: str) -> Credentials | None:
    """Read those of one registry from docker's configuration; None where there are none.

    Only this registry's helper is asked.

    Raises:
        RegistryError: the configuration can't be read, or the helper failed.
    """
    config = _read_config()
    keys = _DOCKER_HUB_KEYS if host == DOCKER_HUB else (host,)
    helper = config.get("credsStore")
    helpers = config.get("credHelpers") or {}
    for key in reversed(keys):
        helper = helpers.get(key, helper)
    if helper and (found := _ask_helper(helper, keys[0])):
        return found
    auths = config.get("auths") or {}
    for key in (*(key for key in keys if key in auths), *auths):
        ours = key in keys or _hostname(key) in keys
        if ours and (found := _parse_entry(auths[key], host)):
            return found
    return None


def _read_config() -> dict[str, Any]:
    folder = os.environ.get("DOCKER_CONFIG")
    try:
        path = (Path(folder) if folder else Path.home() / ".docker") / "config.json"
    except RuntimeError:  # a user without a home, as in many containers
        return {}
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(config, dict):
        raise _unreadable(path, "it is no JSON object")
    return config


def _unreadable(path: Path, reason: str) -> RegistryError:
    return RegistryError(
        f"Docker's configuration {path} can't be read: {reason}.\nMend it, or log in again."
    )


def _hostname(key: str) -> str:
    """Docker's rule: a key may be an address with a path, as of `docker login` long ago."""
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _parse_entry(entry: dict[str, Any], host: str) -> Credentials | None:
    if token := entry.get("identitytoken"):
        return Credentials(identity_token=token)
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        try:
            decoded = base64.b64decode(entry["auth"]).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise RegistryError(
                f"The credentials for {host} in docker's configuration are damaged.\n"
                f"Log in again: docker login {host}"
            ) from error
        username, _, password = decoded.partition(":")
    if not username:
        return None
    return Credentials(username=username, password=password.rstrip("\0"))


def _ask_helper(helper: str, key: str) -> Credentials | None:
    """Ask `docker-credential-<helper>`, as the docker command does; None if it knows nothing."""
    command = [f"docker-credential-{helper}", "get"]
    try:
        done = subprocess.run(
            command,
            input=key,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_HELPER_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RegistryError(
            f"The credential helper {command[0]} for {key} could not be run: {error}.\n"
            "Install it, or remove it from docker's configuration."
        ) from error
    if done.returncode != 0:
        if "not found" in done.stdout.lower():
            return None
        raise RegistryError(
            f"The credential helper {command[0]} failed for {key}: "
            f"{(done.stdout or done.stderr).strip()}"
        )
    try:
        answer = json.loads(done.stdout)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(f"The credential helper {command[0]} gave no credentials.") from error
    if username == _TOKEN_USER:
        return Credentials(identity_token=secret)
    return Credentials(username=username, password=secret) if username else None
