import json
import socket

import pytest
import urllib3

from aicore_build.challenge import Challenge, parse_challenge
from aicore_build.connections import is_loopback, proxy_for
from aicore_build.transport import problem_of, root_cause


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:5000",
        "LOCALHOST:5000",
        "registry.localhost",
        "127.0.0.1",
        "127.0.0.2:5000",
        "[::1]:5000",
    ],
)
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost.example.com",
        "notlocalhost",
        "127.0.0.1.example.com:5000",
        "127.0.0.1@example.com",
        "10.0.0.1:5000",
        "0.0.0.0",
        "[2001:db8::1]:5000",
        "registry:5000",
    ],
)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


REALM = "https://auth.example.com/token?a=b,c"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param('Basic realm="Registry"', Challenge(kind="basic"), id="basic"),
        pytest.param("basic", Challenge(kind="basic"), id="nothing but basic"),
        pytest.param(
            f'Bearer realm="{REALM}",service="r.example.com",'
            'scope="repository:a/b:pull,push repository:c:pull"',
            Challenge(
                kind="bearer",
                realm=REALM,
                service="r.example.com",
                scopes=("repository:a/b:pull,push", "repository:c:pull"),
            ),
            id="bearer",
        ),
        pytest.param(
            f'bearer Realm="{REALM}" , SERVICE = token',
            Challenge(kind="bearer", realm=REALM, service="token"),
            id="spellings",
        ),
        pytest.param(
            r'Bearer realm="https://a/",service="the \"best\" registry"',
            Challenge(kind="bearer", realm="https://a/", service='the "best" registry'),
            id="quotes",
        ),
        pytest.param(
            'Negotiate, Basic realm="a, Bearer realm=b"', Challenge(kind="basic"), id="several"
        ),
        pytest.param(
            'Basic realm="x", Bearer realm="https://a/",service="s"',
            Challenge(kind="bearer", realm="https://a/", service="s"),
            id="bearer after basic",
        ),
        pytest.param("", None, id="nothing"),
        pytest.param('Digest realm="x",nonce="Basic"', None, id="unknown"),
        pytest.param('Bearer error="invalid_token"', None, id="bearer without a realm"),
    ],
)
def test_challenges(header: str, expected: Challenge | None) -> None:
    assert parse_challenge(header) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            {"errors": [{"code": "DENIED", "message": "no", "detail": {}}]}, "no (DENIED)", id="one"
        ),
        pytest.param(
            {"errors": [{"code": "A", "message": "a"}, {"code": "B", "detail": "sha256:1"}]},
            "a (A); B (B)",
            id="several",
        ),
        pytest.param({"errors": []}, "502 Bad Gateway", id="none"),
        pytest.param({"errors": ["broken"]}, "502 Bad Gateway", id="texts"),
        pytest.param({"errors": None}, "502 Bad Gateway", id="null"),
        pytest.param({}, "502 Bad Gateway", id="something else"),
        pytest.param([], "502 Bad Gateway", id="a list"),
        pytest.param("<html>", "502 Bad Gateway", id="a text"),
    ],
)
def test_problems(body: object, expected: str) -> None:
    content = json.dumps(body).encode()
    response = urllib3.HTTPResponse(content, status=502, reason="Bad Gateway")
    assert problem_of(response) == expected


def test_a_problem_that_is_no_json() -> None:
    assert problem_of(urllib3.HTTPResponse(b"<html>", status=418, reason=None)) == "418"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param("https://r.example.com/v2/", "http://secure:1", id="https"),
        pytest.param("http://r.example.com:5000/v2/", "http://plain:2", id="http"),
        pytest.param("https://r.internal/v2/", "", id="excepted"),
        pytest.param("https://r.internal:5000/v2/", "", id="excepted, with a port"),
        pytest.param("http://localhost:5000/v2/", "", id="loopback"),
        pytest.param("https://127.0.0.2/v2/", "", id="loopback address"),
    ],
)
def test_proxies(monkeypatch: pytest.MonkeyPatch, target: str, expected: str) -> None:
    _no_proxies(monkeypatch)
    monkeypatch.setenv("HTTPS_PROXY", "http://secure:1")
    monkeypatch.setenv("http_proxy", "plain:2")
    monkeypatch.setenv("NO_PROXY", "example.org, .internal")
    assert proxy_for(target) == expected


def test_a_proxy_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    _no_proxies(monkeypatch)
    assert proxy_for("https://r.example.com/") == ""
    monkeypatch.setenv("ALL_PROXY", "https://all:3")
    assert proxy_for("https://r.example.com/") == "https://all:3"
    monkeypatch.setenv("HTTPS_PROXY", "https://own:4")
    assert proxy_for("https://r.example.com/") == "https://own:4"


def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_the_cause_is_named_without_the_objects_around_it() -> None:
    reset = ConnectionResetError(104, "Connection reset by peer")
    aborted = urllib3.exceptions.ProtocolError("Connection aborted.", reset)
    pool = urllib3.HTTPConnectionPool("localhost", 5000)
    assert root_cause(aborted) == "[Errno 104] Connection reset by peer"
    assert (
        root_cause(urllib3.exceptions.MaxRetryError(pool, "/v2/", aborted))
        == "[Errno 104] Connection reset by peer"
    )
    slow = urllib3.exceptions.ReadTimeoutError(pool, "/v2/", "Read timed out. (read timeout=30)")
    assert root_cause(slow) == "Read timed out. (read timeout=30)"
    connection = urllib3.connection.HTTPSConnection("r.example.com")
    unknown = urllib3.exceptions.NameResolutionError(
        "r.example.com", connection, socket.gaierror(-2, "Name or service not known")
    )
    assert root_cause(unknown).startswith("Failed to resolve 'r.example.com'")
