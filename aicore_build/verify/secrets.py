"""What the secrets of AI Core give to the steps, on this machine; and none of it in a log."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from aicore_build.errors import VerifyError

Secrets = Mapping[str, Mapping[str, str]]
"""By name, the variables of each secret."""

OBJECT_STORE = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "METAFLOW_S3_ENDPOINT_URL",
)
"""What the environment gives for the object store's secret, if no file does."""

_ENDPOINTS = ("METAFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_PUBLIC = {"AWS_REGION", "AWS_DEFAULT_REGION", "METAFLOW_DATASTORE_SYSROOT_S3", *_ENDPOINTS}
"""Where the store is: what a failure can't be explained without."""

_CONFIDENTIAL = re.compile(r"KEY|SECRET|TOKEN|PASS|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 4
_SHORTEST_OF_OTHERS = 8
"""Characters of a value that is hidden, whatever its key says; `true` would blacken half a log."""


def find_secrets(
    needed: Iterable[str],
    files: Mapping[str, Path],
    object_store: str,
    environment: Mapping[str, str] = os.environ,
) -> Secrets:
    """Find what each secret that the steps need gives to them.

    Args:
        needed: names of secrets.
        files: by name, the files that were given.
        object_store: the secret that the environment's AWS variables can stand for.
        environment: of this process.

    Raises:
        VerifyError: there is nothing for one of them, or a file can't be read.
    """
    found: dict[str, Mapping[str, str]] = {}
    for name in needed:
        if name in files:
            found[name] = read_secret(files[name])
        elif name == object_store and environment.get("AWS_ACCESS_KEY_ID"):
            found[name] = {key: environment[key] for key in OBJECT_STORE if environment.get(key)}
        else:
            hint = (
                "\nOr set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: they then stand for it."
                if name == object_store
                else ""
            )
            raise VerifyError(
                f"The steps are to be given the secret {name}, which is not known here.\n"
                f"Give its content, a line NAME=value for each key: --secret {name}=FILE{hint}"
            )
    return found


def read_secret(path: Path) -> dict[str, str]:
    """Read a file of lines `NAME=value`; a value is taken as it stands, as `docker run` does.

    Raises:
        VerifyError: it can't be read, or a line is something else.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VerifyError(f"The secret's file {path} can't be read: {error}.") from error
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][\w.-]*", name.strip()):
            raise VerifyError(f"Line {number} of {path} is not NAME=value.")
        found[name.strip()] = value
    return found


def endpoint_of(variables: Mapping[str, str]) -> str | None:
    """The address of the store that they lead to; None where that is AWS's."""
    return next((variables[key] for key in _ENDPOINTS if variables.get(key)), None)


def is_on_loopback(secrets: Secrets) -> bool:
    """Whether the store that the secrets lead to is on this machine itself."""
    endpoints = (s[key] for s in secrets.values() for key in _ENDPOINTS if s.get(key))
    hosts = (urlsplit(endpoint).hostname or "" for endpoint in endpoints)
    return any(host in {"localhost", "::1"} or host.startswith("127.") for host in hosts)


class Mask:
    """Puts `***` in the place of what is confidential in the secrets."""

    def __init__(self, secrets: Secrets) -> None:
        """Make it.

        Args:
            secrets: their values are confidential, but for the store's address and short ones.
        """
        values = {
            value
            for secret in secrets.values()
            for name, value in secret.items()
            if name not in _PUBLIC
            and len(value) >= (_SHORTEST if _CONFIDENTIAL.search(name) else _SHORTEST_OF_OTHERS)
        }
        longest_first = sorted(values, key=lambda value: (-len(value), value))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if values else None

    def __call__(self, text: str) -> str:
        """The text without them."""
        return self._pattern.sub("***", text) if self._pattern else text
