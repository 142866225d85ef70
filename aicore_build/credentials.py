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

_DOCKER_HUB_KEY = "https://index.docker.io/v1/"

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
    folder = os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"
    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RegistryError(
            f"Docker's configuration {path} can't be read: {error}.\nMend it, or log in again."
        ) from error
    keys = (_DOCKER_HUB_KEY, DOCKER_HUB) if host == DOCKER_HUB else (host,)
    helper = config.get("credHelpers", {}).get(keys[-1]) or config.get("credsStore")
    if helper and (found := _ask_helper(helper, keys[0])):
        return found
    auths = config.get("auths", {})
    for key in keys:
        for spelling in (key, f"https://{key}", f"https://{key}/", f"http://{key}", f"{key}/"):
            if entry := auths.get(spelling):
                return _parse_entry(entry, host)
    return None


def _parse_entry(entry: dict[str, Any], host: str) -> Credentials | None:
    if token := entry.get("identitytoken"):
        return Credentials(identity_token=token)
    if not entry.get("auth"):
        return None
    try:
        username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise RegistryError(
            f"The credentials for {host} in docker's configuration are damaged.\n"
            f"Log in again: docker login {host}"
        ) from error
    return Credentials(username=username, password=password.rstrip("\0"))


def _ask_helper(helper: str, key: str) -> Credentials | None:
    """Ask `docker-credential-<helper>`, as the docker command does; None if it knows nothing."""
    command = [f"docker-credential-{helper}", "get"]
    try:
        done = subprocess.run(
            command, input=key, capture_output=True, text=True, timeout=_HELPER_TIMEOUT, check=False
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
    except (ValueError, KeyError) as error:
        raise RegistryError(f"The credential helper {command[0]} gave no credentials.") from error
    if username == _TOKEN_USER:
        return Credentials(identity_token=secret)
    return Credentials(username=username, password=secret)
