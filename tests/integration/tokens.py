"""A token server for docker-registry: https://distribution.github.io/distribution/spec/auth/."""

import base64
import datetime
import http.server
import json
import threading
import time
import urllib.parse
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

_ISSUER = "tests"
_SERVICE = "the registry of the tests"

_LEEWAY = 60
"""Seconds that docker-registry adds to a token's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a client asked for."""

    method: str

    user: str
    """Empty for somebody unknown."""

    scopes: tuple[str, ...]
    headers: Mapping[str, str]
    granted: bool


class TokenServer:
    """Says who may do what; use it as a context manager, and change its attributes meanwhile."""

    def __init__(self, folder: Path) -> None:
        """Make its key and certificate, in a folder, and begin to listen on loopback."""
        self.users = {"ada": "right"}
        self.identity_tokens = {"identity-of-ada": "ada"}

        self.anonymous: tuple[str, ...] = ("pull",)
        """What somebody unknown may do; empty refuses them a token, not only rights."""

        self.actions: tuple[str, ...] = ("pull", "push")
        """What a user may do, in all repositories but those below."""

        self.read_only: set[str] = set()
        """Repositories that can't be pushed to."""

        self.hidden: set[str] = set()
        """Repositories that can't even be read."""

        self.lifetime = 300.0
        """Seconds for which a token is good."""

        self.announced: float | None = 300.0
        """Seconds that the answer speaks of; None leaves that out."""

        self._asked: list[Asked] = []
        self._lock = threading.Lock()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self_signed(self._key, folder / "tokens.pem")
        server = self

        class Handler(_Handler):
            tokens = server

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.realm = f"http://127.0.0.1:{self._server.server_address[1]}/token"
        self._bundle = folder / "tokens.pem"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def registry_settings(self, realm: str | None = None) -> str:
        """For the configuration of a registry that trusts this server's tokens."""
        return f"""\
auth:
  token:
    realm: {realm or self.realm}
    service: {_SERVICE}
    issuer: {_ISSUER}
    rootcertbundle: {self._bundle}
"""

    @property
    def asked(self) -> tuple[Asked, ...]:
        """All requests so far."""
        with self._lock:
            return tuple(self._asked)

    def note(self, asked: Asked) -> None:
        with self._lock:
            self._asked.append(asked)

    def issue(self, user: str, scopes: tuple[str, ...]) -> dict[str, Any]:
        """An answer with a token that allows of the scopes what the user may do."""
        now = time.time()
        claims = {
            "iss": _ISSUER,
            "sub": user,
            "aud": _SERVICE,
            "nbf": int(now) - 2 * _LEEWAY,
            "iat": int(now),
            "exp": int(now + self.lifetime - _LEEWAY),
            "jti": uuid.uuid4().hex,
            "access": [self._access(user, scope) for scope in scopes],
        }
        answer: dict[str, Any] = {"token": self._sign(claims)}
        if self.announced is not None:
            answer["expires_in"] = self.announced
        return answer

    def _access(self, user: str, scope: str) -> dict[str, Any]:
        kind, _, rest = scope.partition(":")
        name, _, wanted = rest.rpartition(":")
        allowed = set(self.actions if user else self.anonymous)
        if name in self.read_only:
            allowed &= {"pull"}
        if name in self.hidden:
            allowed = set()
        actions = [action for action in wanted.split(",") if action in allowed]
        return {"type": kind, "name": name, "actions": actions}

    def _sign(self, claims: Mapping[str, Any]) -> str:
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
        signature = self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
        numbers = decode_dss_signature(signature)
        return f"{signed}.{_base64(b''.join(number.to_bytes(32, 'big') for number in numbers))}"


class _Handler(http.server.BaseHTTPRequestHandler):
    tokens: TokenServer

    def do_GET(self) -> None:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(value).decode().partition(":")
        known = kind == "Basic" and self.tokens.users.get(user) == password
        self._give(user, known or bool(not kind and self.tokens.anonymous), query.get("scope", []))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in urllib.parse.parse_qs(body).items()}
        user = self.tokens.identity_tokens.get(form.get("refresh_token", ""), "")
        known = form.get("grant_type") == "refresh_token" and bool(user)
        self._give(user, known, form.get("scope", "").split())

    def _give(self, user: str, granted: bool, scopes: list[str]) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(
            method=self.command, user=user, scopes=tuple(scopes), headers=headers, granted=granted
        )
        self.tokens.note(asked)
        answer = self.tokens.issue(user, asked.scopes) if granted else {"details": "who are you?"}
        content = json.dumps(answer).encode()
        self.send_response(HTTPStatus.OK if granted else HTTPStatus.UNAUTHORIZED)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def self_signed(
    key: ec.EllipticCurvePrivateKey, file: Path, *, names: tuple[str, ...] = ("localhost",)
) -> x509.Certificate:
    """Make a certificate that is its own authority, and write it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(authority, critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
