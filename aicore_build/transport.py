"""HTTP to one registry host: retries, redirects, and logging in when the registry asks for it."""

import contextlib
import io
import json
import re
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import IO

import urllib3
from urllib3.util import Retry, Timeout

from aicore_build import __version__
from aicore_build.challenge import Challenge, basic, joined, parse_challenge
from aicore_build.connections import Pools, is_loopback
from aicore_build.credentials import Credentials, read_credentials
from aicore_build.errors import RegistryError
from aicore_build.reference import DOCKER_HUB

RETRIES = 5
TRANSIENT = (408, 429, 500, 502, 503, 504)

_TIMEOUT = Timeout(connect=10, read=30)
_LONGEST_WAIT = 30
"""Seconds that Retry-After may ask for, each time."""

_REDIRECTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to send."""

    method: str

    url: str
    """Absolute, or a path on the registry's host."""

    what: str
    """Is being done, for an error: `push docker.io/acme/train:v1`."""

    scopes: tuple[str, ...] = ()
    """What a token has to allow, like `repository:acme/train:pull,push`."""

    headers: Mapping[str, str] = field(default_factory=dict)

    body: Callable[[], IO[bytes]] | None = None
    """Gives the body from its beginning."""

    retries: int = RETRIES
    """How often it is sent again; 0 for what needs more than that."""

    stream: bool = False
    """Leave the answer's body to be read."""

    def open_body(self) -> AbstractContextManager[IO[bytes] | None]:
        """The body, open while in use."""
        return self.body() if self.body else contextlib.nullcontext()


class Transport:
    """The way to one registry; used by several threads."""

    def __init__(
        self, host: str, *, ca_bundle: Path | None, plain_http: tuple[str, ...], sockets: int
    ) -> None:
        """Make it, without connecting.

        Args:
            host: with its port.
            ca_bundle: certificates to trust beside the system's.
            plain_http: hosts that may be spoken to without TLS; loopback always is.
            sockets: how many threads use it at the same time.
        """
        self.host = host
        self._plain_http = plain_http
        name = "registry-1.docker.io" if host == DOCKER_HUB else host
        plain = host in plain_http or is_loopback(host)
        self._base = f"{'http' if plain else 'https'}://{name}"
        self._pools = Pools(ca_bundle, sockets)
        self._reached = False
        self._challenge: Challenge | None = None
        self._logins: list[Credentials | None] = []
        """One, once it was looked for."""

        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}
        """By scopes: a token, and when it ends on the monotonic clock."""

        self._lock = threading.Lock()

    def send(self, request: Request) -> urllib3.BaseHTTPResponse:
        """Send a request, again after transient failures, and logged in where that is asked for.

        Raises:
            TransientError: no answer, or none that means something; it may be well again later.
            DeniedError: we have no right to do this, or the registry doesn't know who we are.
            RegistryError: the host can't be reached at all.
        """
        target = urllib.parse.urljoin(f"{self._base}/", request.url)
        for _ in range(_REDIRECTS + 1):
            # Another host that an upload or a redirect leads to gets no credentials of this one,
            # and is not asked where to send them.
            if _origin(target) == _origin(self._base):
                response = self._send_logged_in(request, target)
            else:
                response = self._exchange(request, target, None)
            onward = _redirection(request, response)
            if not onward:
                return response
            response.drain_conn()
            target = urllib.parse.urljoin(target, onward)
        raise RegistryError(f"Could not {request.what}: {self.host} leads from place to place.")

    def _send_logged_in(self, request: Request, target: str) -> urllib3.BaseHTTPResponse:
        authorization = self._authorization(request)
        response = self._exchange(request, target, authorization)
        if response.status == HTTPStatus.UNAUTHORIZED:
            response.drain_conn()
            header = response.headers.get("WWW-Authenticate", "")
            challenge = parse_challenge(header) or self._challenge
            if challenge is None:
                raise RegistryError(
                    f"Could not {request.what}: {self.host} wants a login of an unknown kind."
                )
            self._challenge = challenge
            request = replace(request, scopes=joined(request.scopes, challenge.scopes))
            renewed = self._authorization(request, refused=authorization)
            if renewed in {None, authorization}:
                raise self._denied(request.what)
            response = self._exchange(request, target, renewed)
        if response.status == HTTPStatus.UNAUTHORIZED:
            response.drain_conn()
            knows_us = self._challenge is not None and self._challenge.kind == "bearer"
            raise self._denied(request.what, reason="" if knows_us else None)
        if response.status == HTTPStatus.FORBIDDEN:
            raise self._denied(request.what, reason=problem_of(response))
        return response

    def _exchange(
        self, request: Request, target: str, authorization: str | None
    ) -> urllib3.BaseHTTPResponse:
        self._check_safe(request, target)
        tries_again = request.retries if self._reached else 0
        retries = Retry(
            total=request.retries,
            # A host that never answered is misspelt or down, or has another certificate: to wait
            # for it would only delay that.
            connect=tries_again,
            read=tries_again or min(request.retries, 1),
            other=tries_again,
            allowed_methods=None,
            status_forcelist=TRANSIENT,
            backoff_factor=0.2,
            backoff_jitter=0.2,
            raise_on_status=False,
            retry_after_max=_LONGEST_WAIT,
        )
        headers = {"User-Agent": f"aicore-build/{__version__}", **request.headers}
        if authorization:
            headers["Authorization"] = authorization
        try:
            with request.open_body() as body:
                response = self._pools.of(target).request(
                    request.method,
                    target,
                    headers=headers,
                    body=body,
                    retries=retries,
                    redirect=False,
                    timeout=_TIMEOUT,
                    preload_content=not request.stream,
                )
        except urllib3.exceptions.HTTPError as error:
            kind = TransientError if self._reached else RegistryError
            raise kind(
                f"Could not {request.what}: {self._name(target)} gave no answer: "
                f"{root_cause(error)}.\n{_advice(error)}"
            ) from error
        self._reached = True
        if response.status in TRANSIENT:
            raise TransientError(
                f"Could not {request.what}: {self._name(target)} is in trouble: "
                f"{problem_of(response)}.\nRun the command again later.",
                wait=_retry_after(response),
            )
        return response

    def _check_safe(self, request: Request, target: str) -> None:
        address = urllib.parse.urlsplit(target)
        allowed = {urllib.parse.urlsplit(f"//{host}").hostname for host in self._plain_http}
        if address.scheme == "https" or is_loopback(address.netloc) or address.hostname in allowed:
            return
        raise RegistryError(
            f"Could not {request.what}: {self.host} leads to "
            f"{address.scheme}://{address.netloc}, which has no TLS.\n"
            "Where that is right, add the host to the setting plain-http."
        )

    def _name(self, target: str) -> str:
        return self.host if _origin(target) == _origin(self._base) else _origin(target)

    def _authorization(self, request: Request, *, refused: str | None = None) -> str | None:
        """The header's value for what is known of the registry; None where it asks for nothing.

        A token that was refused is fetched anew, unless another thread did it meanwhile.
        """
        with self._lock:
            if self._challenge is None:
                return None
            login = self._login()
            if self._challenge.kind == "basic":
                return basic(login)
            token, ends = self._tokens.get(request.scopes, ("", 0.0))
            if time.monotonic() > ends or refused == f"Bearer {token}":
                token, seconds = self._fetch_token(self._challenge, request, login)
                self._tokens[request.scopes] = (token, time.monotonic() + seconds - 10)
            return f"Bearer {token}"

    def _fetch_token(
        self, challenge: Challenge, request: Request, login: Credentials | None
    ) -> tuple[str, float]:
        """Ask for a token; return it and the seconds that it lives."""
        asked = _token_request(challenge, request, login)
        response = self._exchange(asked, asked.url, basic(login))
        if response.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise self._denied(request.what)
        try:
            answer = json.loads(response.data)
            token = answer.get("token") or answer["access_token"]
            return str(token), float(answer.get("expires_in") or 60)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(
                f"Could not {request.what}: {challenge.realm} gave no token: "
                f"{problem_of(response)}.\nLog in again: docker login {self.host}"
            ) from error

    def _login(self) -> Credentials | None:
        if not self._logins:  # a helper is a process: it is run once, also if it knows nothing
            self._logins.append(read_credentials(self.host))
        return self._logins[0]

    def _denied(self, what: str, *, reason: str | None = None) -> "DeniedError":
        """No login, a wrong one and too few rights look alike; we know what was sent.

        Args:
            what: was being done.
            reason: in the registry's words, or empty; None where it doesn't take the login.
        """
        login = self._login()
        if login is None:
            because = f" ({reason})" if reason else ""
            return DeniedError(
                f"Could not {what}: {self.host} wants a login, and there is none{because}.\n"
                f"Log in: docker login {self.host}"
            )
        user = f"the user {login.username}" if login.username else "the user who is logged in"
        if reason is None:
            return DeniedError(
                f"Could not {what}: {self.host} refused the login of {user}.\n"
                f"The password may be wrong or have ended: docker login {self.host}"
            )
        return DeniedError(
            f"Could not {what}: {user} has no right to do that on {self.host}"
            f"{f': {reason}' if reason else ''}.\n"
            "Check that the repository exists and that the user may do that to it."
        )


class TransientError(RegistryError):
    """The registry is in trouble, or the way to it; it may be well again later."""

    def __init__(self, message: str, *, wait: float = 0) -> None:
        super().__init__(message)
        self.wait = wait
        """Seconds that the registry asks to wait for."""


class DeniedError(RegistryError):
    """The registry doesn't know who we are, or we have no right to do what was asked."""


def problem_of(response: urllib3.BaseHTTPResponse) -> str:
    """What an answer says is wrong, in the registry's words."""
    status = f"{response.status} {response.reason or ''}".strip()
    try:
        errors = json.loads(response.data)["errors"]
        return "; ".join(f"{e.get('message') or e['code']} ({e['code']})" for e in errors) or status
    except (ValueError, KeyError, TypeError, AttributeError, urllib3.exceptions.HTTPError):
        return status


def _redirection(request: Request, response: urllib3.BaseHTTPResponse) -> str | None:
    """Where to go on; None where a body would have to be sent again, to who knows where."""
    keeps_method = response.status in {
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
    if request.body is None and (request.method in {"GET", "HEAD"} or keeps_method):
        return response.get_redirect_location() or None
    return None


def _retry_after(response: urllib3.BaseHTTPResponse) -> float:
    try:
        return Retry(retry_after_max=_LONGEST_WAIT).get_retry_after(response) or 0
    except urllib3.exceptions.InvalidHeader:
        return 0


def _token_request(
    challenge: Challenge, request: Request, credentials: Credentials | None
) -> Request:
    if credentials and credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "client_id": "aicore-build",
            "refresh_token": credentials.identity_token,
            "service": challenge.service,
            "scope": " ".join(request.scopes),
        }
        content = urllib.parse.urlencode(form).encode()
        return Request(
            method="POST",
            url=challenge.realm,
            what=request.what,
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "Content-Length": str(len(content)),
            },
            body=lambda: io.BytesIO(content),
        )
    fields = [("service", challenge.service), *(("scope", scope) for scope in request.scopes)]
    separator = "&" if "?" in challenge.realm else "?"
    url = f"{challenge.realm}{separator}{urllib.parse.urlencode(fields)}"
    return Request(method="GET", url=url, what=request.what)


def _origin(url: str) -> str:
    """Scheme, host and port, in one spelling."""
    address = urllib.parse.urlsplit(url)
    default = {"http": 80, "https": 443}.get(address.scheme)
    port = "" if address.port in {None, default} else f":{address.port}"
    name = address.hostname or ""
    return f"{address.scheme}://{f'[{name}]' if ':' in name else name}{port}"


def root_cause(error: BaseException) -> str:
    """What is behind an error of urllib3, without the objects that it names."""
    inner = (getattr(error, "reason", None), *error.args)
    for reason in inner:
        if isinstance(reason, BaseException):
            return root_cause(reason)
    return re.sub(r"^HTTPS?Connection(Pool)?\(.*?\): ", "", str(error)).rstrip(".")


def _advice(error: BaseException) -> str:
    text = root_cause(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "Where its certificate is right, name its authority's in the setting ca-bundle."
    if "WRONG_VERSION_NUMBER" in text:
        return "Where it is right that it has no TLS, add its host to the setting plain-http."
    return "Check the network and the registry's address; the command can simply be run again."
