"""HTTP to one registry host: TLS, proxies, retries, and logging in when the registry asks for it.

Rules and traps: https://distribution.github.io/distribution/spec/auth/.
"""

import base64
import contextlib
import io
import ipaddress
import json
import re
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import IO

import urllib3
from urllib3.util import Retry, Timeout

from aicore_build import __version__
from aicore_build.credentials import Credentials, read_credentials
from aicore_build.errors import RegistryError
from aicore_build.reference import DOCKER_HUB

RETRIES = 5
TRANSIENT = (408, 429, 500, 502, 503, 504)

_TIMEOUT = Timeout(connect=10, read=30)
_LONGEST_WAIT = 30
"""Seconds that Retry-After may ask for, each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Challenge:
    """How a registry wants to be told who we are."""

    kind: str
    """`basic` or `bearer`."""

    realm: str = ""
    service: str = ""


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
        self, host: str, *, ca_bundle: Path | None, plain_http: bool, sockets: int
    ) -> None:
        """Make it, without connecting.

        Args:
            host: with its port.
            ca_bundle: certificates to trust beside the system's.
            plain_http: whether this host has no TLS; one on loopback never needs it.
            sockets: how many threads use it at the same time.
        """
        self.host = host
        self._plain_http = plain_http or _is_loopback(host)
        name = "registry-1.docker.io" if host == DOCKER_HUB else host
        self._base = f"{'http' if self._plain_http else 'https'}://{name}"
        self._pool = _pool(self._base, ca_bundle, sockets)
        self._reached = False
        self._challenge: _Challenge | None = None
        self._credentials: Credentials | None = None
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}
        """By scopes: a token, and when it ends on the monotonic clock."""

        self._lock = threading.Lock()

    def send(self, request: Request) -> urllib3.BaseHTTPResponse:
        """Send a request, again after transient failures, and logged in where that is asked for.

        Raises:
            TransientError: no answer, or none that means something; it may be well again later.
            RegistryError: the host can't be reached at all, or we have no right to do this.
        """
        target = urllib.parse.urljoin(f"{self._base}/", request.url)
        # An upload may lead to another host: that one gets no credentials of this.
        ours = target.startswith(f"{self._base}/")
        authorization = self._authorization(request) if ours else None
        response = self._request(request, target, authorization)
        if response.status == HTTPStatus.UNAUTHORIZED and ours:
            response.drain_conn()
            self._challenge = _parse_challenge(response.headers.get("WWW-Authenticate", ""))
            renewed = self._authorization(request, new=True)
            if renewed in {None, authorization}:
                raise self._denied(request.what)
            response = self._request(request, target, renewed)
        if response.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            response.drain_conn()
            raise self._denied(request.what)
        return response

    def _request(
        self, request: Request, target: str, authorization: str | None
    ) -> urllib3.BaseHTTPResponse:
        retries = Retry(
            total=request.retries,
            # A host that never answered is misspelt or down: to wait for it would only delay that.
            connect=request.retries if self._reached else 0,
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
                response = self._pool.request(
                    request.method,
                    target,
                    headers=headers,
                    body=body,
                    retries=retries,
                    timeout=_TIMEOUT,
                    preload_content=not request.stream,
                )
        except urllib3.exceptions.HTTPError as error:
            kind = TransientError if self._reached else RegistryError
            raise kind(
                f"Could not {request.what}: {self.host} gave no answer: {_root_cause(error)}.\n"
                "Check the network and the registry's address; the command can simply be run again."
            ) from error
        self._reached = True
        if response.status in TRANSIENT:
            raise TransientError(
                f"Could not {request.what}: {self.host} is in trouble: {problem_of(response)}.\n"
                "Run the command again later."
            )
        return response

    def _authorization(self, request: Request, *, new: bool = False) -> str | None:
        """The header's value for what is known of the registry; None where it asks for nothing."""
        with self._lock:
            if self._challenge is None:
                return None
            self._credentials = self._credentials or read_credentials(self.host)
            if self._challenge.kind == "basic":
                return _basic(self._credentials)
            token, ends = self._tokens.get(request.scopes, ("", 0.0))
            if new or time.monotonic() > ends:
                token, seconds = self._fetch_token(self._challenge, request)
                self._tokens[request.scopes] = (token, time.monotonic() + seconds - 10)
            return f"Bearer {token}"

    def _fetch_token(self, challenge: _Challenge, request: Request) -> tuple[str, float]:
        """Ask for a token; return it and the seconds that it lives."""
        realm = urllib.parse.urlsplit(challenge.realm)
        safe = realm.scheme == "https" or self._plain_http or _is_loopback(realm.netloc)
        if self._credentials and not safe:
            raise RegistryError(
                f"Could not {request.what}: {self.host} wants the password sent to "
                f"{challenge.realm}, without TLS."
            )
        asked = _token_request(challenge, request, self._credentials)
        response = self._request(asked, asked.url, _basic(self._credentials))
        if response.status != HTTPStatus.OK:
            raise self._denied(request.what)
        try:
            answer = json.loads(response.data)
            token = answer.get("token") or answer["access_token"]
        except (ValueError, KeyError) as error:
            raise RegistryError(
                f"Could not {request.what}: {challenge.realm} gave no token."
            ) from error
        return str(token), float(answer.get("expires_in") or 60)

    def _denied(self, what: str) -> RegistryError:
        """No login and a wrong password look alike to the registry; we know what was sent."""
        known = self._credentials or read_credentials(self.host)
        if known is None:
            return RegistryError(
                f"Could not {what}: {self.host} wants a login, and there is none.\n"
                f"Log in: docker login {self.host}"
            )
        return RegistryError(
            f"Could not {what}: {self.host} denied it to the user who is logged in"
            f"{f' ({known.username})' if known.username else ''}.\n"
            f"Check the password (docker login {self.host}), that the repository exists, and that "
            "the user may push to it."
        )


class TransientError(RegistryError):
    """The registry is in trouble, or the way to it; it may be well again later."""


def problem_of(response: urllib3.BaseHTTPResponse) -> str:
    """What an answer says is wrong, in the registry's words."""
    try:
        errors = json.loads(response.data)["errors"]
        return "; ".join(f"{e.get('message') or e['code']} ({e['code']})" for e in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{response.status} {response.reason or ''}".strip()


def _pool(base: str, ca_bundle: Path | None, sockets: int) -> urllib3.PoolManager:
    """Through the proxy that the environment names for this host, if there is one."""
    context = ssl.create_default_context()
    if ca_bundle:
        try:
            context.load_verify_locations(cafile=ca_bundle)
        except (OSError, ssl.SSLError) as error:
            raise RegistryError(f"The CA bundle {ca_bundle} can't be read: {error}.") from error
    address = urllib.parse.urlsplit(base)
    proxy = urllib.request.getproxies().get(address.scheme)
    if proxy and not urllib.request.proxy_bypass(address.netloc):
        login = urllib.parse.urlsplit(proxy)
        headers = urllib3.make_headers(
            proxy_basic_auth=f"{login.username}:{login.password}" if login.username else None
        )
        return urllib3.ProxyManager(
            proxy, proxy_headers=headers, ssl_context=context, maxsize=sockets, block=False
        )
    return urllib3.PoolManager(ssl_context=context, maxsize=sockets, block=False)


def _parse_challenge(header: str) -> _Challenge:
    kind, _, rest = header.partition(" ")
    values = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    return _Challenge(
        kind=kind.lower(), realm=values.get("realm", ""), service=values.get("service", "")
    )


def _token_request(
    challenge: _Challenge, request: Request, credentials: Credentials | None
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


def _basic(credentials: Credentials | None) -> str | None:
    if credentials is None or not credentials.username:
        return None
    login = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(login).decode()}"


def _is_loopback(host: str) -> bool:
    name = urllib.parse.urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _root_cause(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return _root_cause(reason)
    text = str(error)
    return text.rpartition(": ")[2] if "Errno" in text else text
