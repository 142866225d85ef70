"""The Docker Engine: how it is reached, and how it fails; the only module that imports docker-py.

docker-py's low-level API never raises for what fails inside a build, pull or push: an error is an
event of the stream, so every stream is read to its end.
"""

import collections
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import docker
import docker.errors
import docker.types
import requests.exceptions

from aicore_build.errors import EngineError
from aicore_build.reference import ImageReference, TagReference

SILENCE = {"build": 3600, "transfer": 600, "answer": 60, "step": 10 * 24 * 3600}
"""Seconds without a byte from the engine, after which it is given up: pip compiles silently, and
a step may train for days."""

Event = Mapping[str, Any]
Client = docker.APIClient
Mount = docker.types.Mount


class StreamError(Exception):
    """An error event in a stream of the engine."""


NotThere = docker.errors.NotFound
Refused = (StreamError, docker.errors.DockerException)
"""What the engine says when it doesn't do what it was asked to; `said` gives its words."""


class _Client(docker.APIClient):
    def _set_auth_headers(self, headers: dict[str, str]) -> None:
        """Send no credentials with a build: it would be those of every registry.

        Base images are pulled before, with the credentials of their own registry.
        """


@contextlib.contextmanager
def connected(silence: str) -> Iterator[Client]:
    """A connection of one's own: docker-py's are not made for several threads.

    Args:
        silence: a key of SILENCE.

    Raises:
        EngineError: the engine can't be reached, or stopped answering.
    """
    client = _connect(SILENCE[silence])
    try:
        yield client
    except docker.errors.DockerException:
        raise  # an answer, though some of them are also requests' exceptions
    except requests.exceptions.RequestException as error:
        raise EngineError(
            f"The Docker Engine at {_endpoint()} stopped answering: {error}.\n"
            "See its log; the command can simply be run again."
        ) from error
    finally:
        client.close()


def checked(events: Iterable[Event]) -> Iterator[Event]:
    """The events of a stream, up to the first that is an error.

    Raises:
        StreamError: with the engine's words.
    """
    for event in events:
        if "error" in event:
            detail = event.get("errorDetail", {}).get("message")
            raise StreamError(str(detail or event["error"]).strip())
        yield event


def said(error: BaseException) -> str:
    """The engine's own words, out of one of `Refused`."""
    explanation = getattr(error, "explanation", None)
    return str(explanation or error).strip().rstrip(".")


def find_image(client: Client, image: str) -> Event | None:
    """What the engine knows of an image; None if it hasn't it."""
    try:
        found: Event = client.inspect_image(image)
    except docker.errors.ImageNotFound:
        return None
    return found


def is_for(image: Event, platform: str) -> bool:
    """Whether an inspected image is for a platform such as `linux/amd64`."""
    system, _, rest = platform.partition("/")
    return (image["Os"], image["Architecture"]) == (system, rest.partition("/")[0])


def pull(client: Client, reference: ImageReference, platform: str) -> None:
    """Pull an image.

    Raises:
        StreamError, DockerException: as in `Refused`.
    """
    tag = reference.tag if isinstance(reference, TagReference) else reference.digest
    events = client.pull(
        str(reference.repository), tag, stream=True, decode=True, platform=platform
    )
    collections.deque(checked(events), maxlen=0)


def _connect(timeout: int) -> Client:
    try:
        return _Client(**_connection(), timeout=timeout)
    except docker.errors.DockerException as error:
        raise EngineError(
            f"The Docker Engine can't be reached at {_endpoint()}: {_root_cause(error)}.\n"
            "Start Docker, or point DOCKER_HOST or the docker context to where it runs.\n"
            "`aicore-build prod --builder registry` needs none, once the dev images are pushed."
        ) from error


def _connection() -> dict[str, Any]:
    """How to reach the engine: DOCKER_HOST and its kin, else the current docker context."""
    from docker.context import ContextAPI  # noqa: PLC0415
    from docker.utils import kwargs_from_env  # noqa: PLC0415

    found = dict(kwargs_from_env())
    return found if "base_url" in found else {**ContextAPI.kwargs_from_context(), **found}


def _endpoint() -> str:
    from docker.constants import DEFAULT_UNIX_SOCKET  # noqa: PLC0415

    return str(_connection().get("base_url") or DEFAULT_UNIX_SOCKET).replace("http+unix", "unix")


def _root_cause(error: BaseException) -> str:
    """The system's own words, out of what docker-py, requests and urllib3 wrap around them."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    return str(error)
