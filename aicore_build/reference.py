"""Image references, as Docker reads them; a tag and a digest are told apart when parsed."""

import re
from dataclasses import dataclass
from typing import NewType

from aicore_build.errors import FlowError

Digest = NewType("Digest", str)
"""`sha256:` and 64 hexadecimal digits: names a manifest."""

DOCKER_HUB = "docker.io"

# The grammar of github.com/distribution/reference.
_HOST = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_PATH_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REST = re.compile(
    rf"(?P<path>{_PATH_PART}(?:/{_PATH_PART})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """Where images live: a registry's host and a path in it."""

    host: str
    """With its port; `docker.io` where the reference names none."""

    path: str

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TagReference:
    """`repository:tag`: can be pushed to, may point to another image tomorrow."""

    repository: Repository
    tag: str

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"

    def pinned(self, digest: Digest) -> "DigestReference":
        """The same reference, fixed to the image that it points to now."""
        return DigestReference(repository=self.repository, tag=self.tag, digest=digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestReference:
    """`repository@digest` or `repository:tag@digest`: one image for ever, can't be pushed to."""

    repository: Repository
    digest: Digest
    tag: str | None = None
    """Kept for people to read: what is pulled is the digest."""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}@{self.digest}"


ImageReference = TagReference | DigestReference


def parse_reference(text: str) -> ImageReference:
    """Parse an image reference; one with neither tag nor digest means `:latest`, as in Docker.

    Raises:
        FlowError: it is not an image reference.
    """
    host, rest = _split_host(text)
    match = _REST.fullmatch(rest)
    if match is None or _HOST.fullmatch(host) is None:
        raise FlowError(
            f"{text!r} is not an image reference.\n"
            "Write it as registry/repository:tag, the repository in lower case, for example "
            "docker.io/acme/metaflow-train:v1."
        )
    path, tag, digest = match["path"], match["tag"], match["digest"]
    if host == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    repository = Repository(host=host, path=path)
    if digest:
        return DigestReference(repository=repository, tag=tag, digest=Digest(digest))
    return TagReference(repository=repository, tag=tag or "latest")


def parse_prefix(text: str) -> Repository:
    """Parse the beginning of a reference: a host, a host and a path, or a Docker Hub account.

    Raises:
        ValueError: no reference begins like that.
    """
    prefix = text.rstrip("/")
    host, path = (part.rstrip("/") for part in _split_host(f"{prefix}/"))
    if _HOST.fullmatch(host) is None or not _is_path(path) or not (path or host == prefix):
        raise ValueError(
            f"{text!r} is not the beginning of an image reference, like docker.io/acme"
        )
    return Repository(host=host, path=path)


def _is_path(path: str) -> bool:
    return not path or all(re.fullmatch(_PATH_PART, part) for part in path.split("/"))


def _split_host(text: str) -> tuple[str, str]:
    """Docker takes the first part for a host only if it has a dot, a port, or is `localhost`."""
    first, slash, rest = text.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return (DOCKER_HUB if first == "index.docker.io" else first), rest
    return DOCKER_HUB, text
