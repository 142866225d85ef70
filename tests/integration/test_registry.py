"""The registry client and a real registry: logins, tokens, TLS, proxies, and what it is asked."""

import base64
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aicore_build.errors import RegistryError
from aicore_build.reference import Digest, TagReference
from aicore_build.registry import RegistryClient, bytes_blob
from tests.integration.faults import (
    Answer,
    FaultProxy,
    RealRegistry,
    Redirect,
    Rule,
    Seen,
    make_image,
    new_target,
)
from tests.integration.servers import free_port, registry_with_password
from tests.integration.tokens import TokenServer, self_signed

NAME = "registry.test"
"""Leads to this machine in these tests, and is not known to be loopback."""

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def docker_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nobody is logged in, and there is no proxy."""
    folder = tmp_path / "docker"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return folder / "config.json"


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    original = socket.getaddrinfo

    def look_up(host: str, *arguments: Any, **more: Any) -> Any:  # noqa: ANN401
        return original("127.0.0.1" if host.endswith(".test") else host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with RealRegistry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry with basic authentication."""
    with registry_with_password(tmp_path_factory.mktemp("protected"), "ada", "right") as host:
        yield host


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[TokenServer]:
    with TokenServer(tmp_path / "tokens") as running:
        yield running


@pytest.fixture
def guarded(tokens: TokenServer, tmp_path: Path) -> Iterator[RealRegistry]:
    """A registry that believes the tokens."""
    with RealRegistry(tmp_path / "guarded", more=tokens.registry_settings()) as running:
        yield running


def log_in(config: Path, host: str, password: str = "right", user: str = "ada") -> None:
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    config.write_text(json.dumps({"auths": {host: {"auth": login}}}))


def push(target: TagReference, **settings: Any) -> Digest:  # noqa: ANN401
    """Push an image with a new client, and look for it with another one."""
    image = make_image()
    client = RegistryClient(**settings)
    client.cancel_upload(target.repository, client.open_upload(target.repository))
    image.push(client, target)
    reader = RegistryClient(**settings)
    assert reader.get_manifest(target) == image.manifest
    assert reader.get_document(target.repository, image.config.digest)
    return image.manifest.digest


def port_of(host: str) -> int:
    return int(host.rpartition(":")[2])


def secrets_in(seen: tuple[Seen, ...]) -> list[str]:
    return [one.headers["authorization"] for one in seen if "authorization" in one.headers]


# What is asked


def test_an_image_is_found_by_tag_and_by_digest(registry: RealRegistry) -> None:
    target = new_target(registry.address)
    digest = push(target)
    client = RegistryClient()
    assert client.find(target) == digest
    assert client.find(target.pinned(digest)) == digest
    assert client.get_manifest(target.pinned(digest)) == client.get_manifest(target)


def test_an_image_that_is_not_there(registry: RealRegistry) -> None:
    client, target = RegistryClient(), new_target(registry.address)
    nothing = Digest(f"sha256:{'0' * 64}")
    for reference in (target, target.pinned(nothing)):
        assert client.find(reference) is None
        assert client.get_manifest(reference) is None
    with pytest.raises(RegistryError, match="BLOB_UNKNOWN"):
        client.get_document(target.repository, nothing)


def test_a_blob_is_sent_once_and_mounted_elsewhere(registry: RealRegistry) -> None:
    client, blob = RegistryClient(), make_image().layer
    with FaultProxy(registry.port) as proxy:
        first, second = (new_target(proxy.address).repository for _ in range(2))
        assert client.upload(first, blob)
        assert not client.upload(first, blob)
        assert not client.upload(second, blob, mount_from=first)
        assert proxy.count("PUT", "/") == 1
        assert blob.size < proxy.bytes_up < blob.size + 2000


def test_a_manifest_whose_blobs_are_missing(registry: RealRegistry) -> None:
    client, target, image = RegistryClient(), new_target(registry.address), make_image()
    with pytest.raises(RegistryError, match="MANIFEST_BLOB_UNKNOWN"):
        client.put_manifest(target, image.manifest)
    assert client.find(target) is None


def test_an_upload_of_other_bytes_than_the_digest_says(registry: RealRegistry) -> None:
    target = new_target(registry.address)
    blob = replace(bytes_blob(b"expected"), open=bytes_blob(b"provided").open)
    with pytest.raises(RegistryError, match="DIGEST_INVALID"):
        RegistryClient().upload(target.repository, blob)


@pytest.mark.parametrize("relative", [True, False])
def test_an_upload_session_may_have_any_kind_of_address(
    registry: RealRegistry, relative: bool
) -> None:
    blob = make_image().layer
    with FaultProxy(registry.port) as proxy:
        target = new_target(proxy.address).repository
        session = RegistryClient().open_upload(target)
        _, _, path = session.partition(f"/v2/{target.path}/blobs/uploads/")
        location = path if relative else f"/v2/{target.path}/blobs/uploads/{path}"
        answer = Answer(status=HTTPStatus.ACCEPTED, headers={"Location": location})
        proxy.set(Rule(method="POST", path="/uploads/", fault=answer))
        assert RegistryClient().upload(target, blob)
        assert proxy.faults == 1
        assert proxy.count("PUT", "/") == 1


# Logins


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_a_login(kind: str, protected: str, guarded: RealRegistry, docker_config: Path) -> None:
    host = protected if kind == "basic" else guarded.address
    log_in(docker_config, host)
    push(new_target(host))


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_a_wrong_password(
    kind: str, protected: str, guarded: RealRegistry, docker_config: Path
) -> None:
    host = protected if kind == "basic" else guarded.address
    log_in(docker_config, host, "wrong")
    start = time.monotonic()
    with pytest.raises(RegistryError, match=f"{host} refused the login of the user ada") as caught:
        RegistryClient().open_upload(new_target(host).repository)
    assert time.monotonic() - start < 2
    assert "wrong\n" not in str(caught.value)
    log_in(docker_config, host)
    push(new_target(host))


def test_a_wrong_password_is_tried_once_for_each_request(
    protected: str, docker_config: Path
) -> None:
    with FaultProxy(port_of(protected)) as proxy:
        log_in(docker_config, proxy.address, "wrong")
        client = RegistryClient()
        for times in (1, 2):
            with pytest.raises(RegistryError):
                client.find(new_target(proxy.address))
            assert len(secrets_in(proxy.seen)) == times


@pytest.mark.parametrize("kind", ["basic", "token", "no token"])
def test_no_login(kind: str, protected: str, guarded: RealRegistry, tokens: TokenServer) -> None:
    if kind == "no token":
        tokens.anonymous = ()
    host = protected if kind == "basic" else guarded.address
    with pytest.raises(RegistryError, match="wants a login, and there is none") as caught:
        RegistryClient().open_upload(new_target(host).repository)
    assert f"docker login {host}" in str(caught.value)


def test_who_is_not_logged_in_may_read_where_the_registry_allows_it(
    guarded: RealRegistry, docker_config: Path
) -> None:
    target = new_target(guarded.address)
    log_in(docker_config, guarded.address)
    digest = push(target)
    docker_config.unlink()
    assert RegistryClient().find(target) == digest


def test_a_user_who_may_not_push(
    guarded: RealRegistry, tokens: TokenServer, docker_config: Path
) -> None:
    log_in(docker_config, guarded.address)
    target = new_target(guarded.address)
    tokens.read_only.add(target.repository.path)
    with pytest.raises(RegistryError, match=rf"push to {target.repository}: the user ada has no "):
        RegistryClient().open_upload(target.repository)
    assert RegistryClient().find(target) is None
    tokens.read_only.clear()
    push(target)


def test_a_registry_that_forbids_says_why(protected: str, docker_config: Path) -> None:
    body = {"errors": [{"code": "DENIED", "message": "your quota is used up"}]}
    forbidden = Answer(status=HTTPStatus.FORBIDDEN, body=json.dumps(body).encode())
    with FaultProxy(port_of(protected)) as proxy:
        log_in(docker_config, proxy.address)
        proxy.set(Rule(method="POST", path="/", fault=forbidden, skip=1))
        with pytest.raises(RegistryError, match=r"has no right .*: your quota is used up"):
            RegistryClient().open_upload(new_target(proxy.address).repository)


def test_a_mount_asks_for_both_repositories_at_once(
    guarded: RealRegistry, tokens: TokenServer, docker_config: Path
) -> None:
    log_in(docker_config, guarded.address)
    client, blob = RegistryClient(), make_image().layer
    source, target = (new_target(guarded.address).repository for _ in range(2))
    client.upload(source, blob)
    assert not client.upload(target, blob, mount_from=source)
    both = (f"repository:{target.path}:pull,push", f"repository:{source.path}:pull")
    assert tokens.asked[-1].scopes == both
    assert len(tokens.asked) == 2, "before the registry refused one that is not enough"


def test_a_mount_from_what_may_not_be_read_is_an_upload(
    guarded: RealRegistry, tokens: TokenServer, docker_config: Path
) -> None:
    log_in(docker_config, guarded.address)
    client, blob = RegistryClient(), make_image().layer
    source, target = (new_target(guarded.address).repository for _ in range(2))
    client.upload(source, blob)
    tokens.hidden.add(source.path)
    assert RegistryClient().upload(target, blob, mount_from=source)


def test_who_may_not_delete_may_still_end_an_upload_session(
    guarded: RealRegistry, tokens: TokenServer, docker_config: Path
) -> None:
    log_in(docker_config, guarded.address)
    target = new_target(guarded.address).repository
    client = RegistryClient()
    client.cancel_upload(target, client.open_upload(target))
    assert f"repository:{target.path}:delete" in tokens.asked[-1].scopes
    tokens.actions = ("pull", "push", "delete")
    session = client.open_upload(target)
    client.cancel_upload(target, session)
    blob = make_image().layer
    assert client.upload(target, blob, session=session), "it is gone, and another one is begun"


def test_one_token_is_enough_for_several_requests(
    guarded: RealRegistry, tokens: TokenServer, docker_config: Path
) -> None:
    log_in(docker_config, guarded.address)
    client, target = RegistryClient(), new_target(guarded.address)
    for _ in range(3):
        client.upload(target.repository, make_image().layer)
    assert len(tokens.asked) == 1


@pytest.mark.parametrize(
    ("announced", "refused"),
    [
        pytest.param(300, 2, id="earlier than announced"),
        pytest.param(1, 1, id="as announced"),
        pytest.param(None, 2, id="unannounced"),
    ],
)
def test_a_token_that_ends_between_two_requests(
    guarded: RealRegistry,
    tokens: TokenServer,
    docker_config: Path,
    announced: float | None,
    refused: int,
) -> None:
    tokens.announced, tokens.lifetime = announced, 2
    with FaultProxy(guarded.port) as proxy:
        log_in(docker_config, proxy.address)
        client, target, image = RegistryClient(), new_target(proxy.address), make_image()
        client.upload(target.repository, image.config)
        time.sleep(2.1)
        tokens.lifetime = 300
        image.push(client, target)
        assert client.find(target) == image.manifest.digest
        assert [one.status for one in proxy.seen].count(HTTPStatus.UNAUTHORIZED) == refused


def test_a_token_that_ends_before_a_large_body(
    guarded: RealRegistry, tokens: TokenServer, docker_config: Path
) -> None:
    """The registry may cut the connection instead of reading all of it."""
    tokens.lifetime = 2
    log_in(docker_config, guarded.address)
    client, target, blob = RegistryClient(), new_target(guarded.address), make_image(30_000_000)
    session = client.open_upload(target.repository)
    time.sleep(2.1)
    assert client.upload(target.repository, blob.layer, session=session)


def test_an_identity_token_is_exchanged(
    guarded: RealRegistry, tokens: TokenServer, docker_config: Path
) -> None:
    entry = {"auth": base64.b64encode(b"00000000:").decode(), "identitytoken": "identity-of-ada"}
    docker_config.write_text(json.dumps({"auths": {guarded.address: entry}}))
    push(new_target(guarded.address))
    assert {asked.method for asked in tokens.asked} == {"POST"}
    tokens.identity_tokens.clear()
    with pytest.raises(RegistryError, match="refused the login of the user who is logged in"):
        RegistryClient().open_upload(new_target(guarded.address).repository)


# Where passwords don't go


def test_a_redirect_to_another_host_gets_no_password(
    protected: str, registry: RealRegistry, docker_config: Path
) -> None:
    with FaultProxy(port_of(protected)) as front, FaultProxy(registry.port) as elsewhere:
        log_in(docker_config, front.address)
        target, image = new_target(front.address), make_image()
        stored = replace(target, repository=replace(target.repository, host=registry.address))
        image.push(RegistryClient(), stored)
        image.push(RegistryClient(), target)
        front.set(
            Rule(method="GET", path="/blobs/", fault=Redirect(to=f"http://{elsewhere.address}"))
        )
        client = RegistryClient()
        client.find(target)
        assert client.get_document(target.repository, image.config.digest)
        assert front.faults == 1
        assert secrets_in(front.seen)
        assert len(elsewhere.seen) == 1
        assert not secrets_in(elsewhere.seen)


@pytest.mark.parametrize("status", [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN])
def test_where_a_redirect_leads_to_nobody_is_told_who_we_are(
    protected: str, registry: RealRegistry, docker_config: Path, status: HTTPStatus
) -> None:
    asks = Answer(status=status, headers={"WWW-Authenticate": 'Basic realm="mine"'})
    any_method = Rule(method=".*", path="/", fault=asks, times=None)
    with (
        FaultProxy(port_of(protected)) as front,
        FaultProxy(registry.port, any_method) as elsewhere,
    ):
        log_in(docker_config, front.address)
        target, image = new_target(front.address), make_image()
        image.push(RegistryClient(), target)
        front.set(
            Rule(method="GET", path="/blobs/", fault=Redirect(to=f"http://{elsewhere.address}"))
        )
        client = RegistryClient()
        client.find(target)
        with pytest.raises(RegistryError, match=str(int(status))):
            client.get_document(target.repository, image.config.digest)
        assert len(elsewhere.seen) == 1
        assert not secrets_in(elsewhere.seen)


def test_an_upload_to_another_host_takes_no_password_along(
    protected: str, registry: RealRegistry, docker_config: Path
) -> None:
    with FaultProxy(port_of(protected)) as front, FaultProxy(registry.port) as elsewhere:
        log_in(docker_config, front.address)
        target, blob = new_target(front.address).repository, make_image().layer
        there = replace(target, host=elsewhere.address)
        session = RegistryClient().open_upload(there)
        elsewhere.set()
        client = RegistryClient()
        client.find(TagReference(repository=target, tag="none"))
        assert client.upload(target, blob, session=session)
        assert elsewhere.count("PUT", "/uploads/") == 1
        assert secrets_in(front.seen)
        assert not secrets_in(elsewhere.seen)


def test_redirects_without_an_end(registry: RealRegistry) -> None:
    with FaultProxy(registry.port) as proxy:
        circle = Redirect(to=f"http://{proxy.address}")
        proxy.set(Rule(method="GET", path="/", fault=circle, times=None))
        with pytest.raises(RegistryError, match="leads from place to place"):
            RegistryClient().get_manifest(new_target(proxy.address))
        assert len(proxy.seen) < 10


def test_a_password_never_goes_to_a_token_server_without_tls(
    registry: RealRegistry, docker_config: Path
) -> None:
    """Neither from a registry on loopback, which itself needs no TLS."""
    with FaultProxy(registry.port) as front, FaultProxy(registry.port) as realm:
        wants = f'Bearer realm="http://{NAME}:{realm.port}/token",service="x"'
        asks = Answer(status=HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": wants})
        front.set(Rule(method=".*", path="/", fault=asks, times=None))
        log_in(docker_config, front.address)
        for allowed in ((), (front.address,)):
            with pytest.raises(RegistryError, match=f"http://{NAME}:{realm.port}, which has no TL"):
                RegistryClient(plain_http=allowed).find(new_target(front.address))
        assert realm.seen == ()
        with pytest.raises(RegistryError, match="gave no token"):
            RegistryClient(plain_http=(NAME,)).find(new_target(front.address))
        assert len(secrets_in(realm.seen)) == 1


def test_a_redirect_from_tls_to_none(tls: RealRegistry, certificate: Path) -> None:
    target = new_target(f"{NAME}:{tls.port}")
    client = RegistryClient(ca_bundle=certificate)
    with pytest.raises(RegistryError, match=rf"leads to http://{NAME}:1, which has no TLS"):
        client.upload(target.repository, make_image().layer, session=f"http://{NAME}:1/upload")


# Docker's configuration


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Makes a credential helper that gives an answer and notes what it was asked."""
    folder = tmp_path / "helpers"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def make(name: str, answer: str, code: int = 0) -> Path:
        script, asked = folder / f"docker-credential-{name}", folder / f"{name}.asked"
        script.write_text(
            f"#!/bin/sh\necho \"$1 $(cat)\" >> {asked}\ncat <<'E'\n{answer}\nE\nexit {code}\n"
        )
        script.chmod(0o755)
        return asked

    return make


ADA = '{"ServerURL": "x", "Username": "ada", "Secret": "right"}'
NOTHING = "credentials not found in native keychain"


@pytest.mark.parametrize("setting", ["credsStore", "credHelpers"])
def test_a_helper_gives_the_password(
    protected: str, docker_config: Path, helper: Callable[..., Path], setting: str
) -> None:
    asked = helper("ours", ADA)
    others = helper("others", ADA)
    config: dict[str, Any] = {"auths": {protected: {}}, "credHelpers": {"gcr.io": "others"}}
    if setting == "credsStore":
        config["credsStore"] = "ours"
    else:
        config["credHelpers"][protected] = "ours"
        config["credsStore"] = "others"
    docker_config.write_text(json.dumps(config))

    push(new_target(protected))

    assert set(asked.read_text().splitlines()) == {f"get {protected}"}
    assert len(asked.read_text().splitlines()) == 2, "once for each client"
    assert not others.exists(), "was run for another registry"


def test_a_helper_is_not_run_where_no_login_is_asked_for(
    registry: RealRegistry, docker_config: Path, helper: Callable[..., Path]
) -> None:
    asked = helper("ours", ADA)
    docker_config.write_text('{"credsStore": "ours"}')
    push(new_target(registry.address))
    assert not asked.exists()


def test_a_helper_may_hold_an_identity_token(
    guarded: RealRegistry, tokens: TokenServer, docker_config: Path, helper: Callable[..., Path]
) -> None:
    helper("ours", '{"Username": "<token>", "Secret": "identity-of-ada"}')
    docker_config.write_text('{"credsStore": "ours"}')
    push(new_target(guarded.address))
    assert {asked.method for asked in tokens.asked} == {"POST"}


def test_a_helper_that_knows_nothing_leaves_it_to_the_file(
    protected: str, docker_config: Path, helper: Callable[..., Path]
) -> None:
    asked = helper("ours", NOTHING, 1)
    log_in(docker_config, protected)
    config = {**json.loads(docker_config.read_text()), "credsStore": "ours"}
    docker_config.write_text(json.dumps(config))
    push(new_target(protected))
    docker_config.write_text('{"credsStore": "ours"}')
    asked.unlink()
    client = RegistryClient()
    for _ in range(2):
        with pytest.raises(RegistryError, match="wants a login, and there is none"):
            client.find(new_target(protected))
    assert len(asked.read_text().splitlines()) == 1, "once for all requests"


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        pytest.param("no keyring here", 1, "failed for .*: no keyring here", id="fails"),
        pytest.param("welcome!", 0, "gave no credentials", id="says nonsense"),
        pytest.param('["ada", "right"]', 0, "gave no credentials", id="says something else"),
    ],
)
def test_a_helper_that_does_not_work(
    protected: str,
    docker_config: Path,
    helper: Callable[..., Path],
    answer: str,
    code: int,
    reason: str,
) -> None:
    helper("ours", answer, code)
    docker_config.write_text('{"credsStore": "ours"}')
    with pytest.raises(RegistryError, match=f"docker-credential-ours {reason}"):
        RegistryClient().find(new_target(protected))


def test_a_helper_that_is_not_installed(protected: str, docker_config: Path) -> None:
    docker_config.write_text('{"credsStore": "nowhere"}')
    with pytest.raises(RegistryError, match=r"docker-credential-nowhere .* could not be run"):
        RegistryClient().find(new_target(protected))


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With its key beside it."""
    file = tmp_path_factory.mktemp("certificate") / "certificate.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    self_signed(key, file, names=(NAME,))
    content = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.with_name("key.pem").write_bytes(content)
    return file


@pytest.fixture(scope="module")
def tls(certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    files = f"tls: {{certificate: {certificate}, key: {certificate.with_name('key.pem')}}}"
    with RealRegistry(tmp_path_factory.mktemp("tls"), http=files) as running:
        yield running


def test_a_registry_with_a_certificate_of_our_bundle(tls: RealRegistry, certificate: Path) -> None:
    push(new_target(f"{NAME}:{tls.port}"), ca_bundle=certificate)


def test_a_registry_with_a_certificate_that_docker_is_told_to_trust(
    tls: RealRegistry, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = new_target(f"{NAME}:{tls.port}")
    folder = tmp_path / target.repository.host
    folder.mkdir()
    (folder / "ca.crt").write_bytes(certificate.read_bytes())
    monkeypatch.setattr("aicore_build.connections._DOCKERS_CERTIFICATES", tmp_path)
    push(target)


def test_a_registry_with_a_certificate_that_nobody_knows(tls: RealRegistry) -> None:
    start = time.monotonic()
    with pytest.raises(RegistryError, match="certificate verify failed") as caught:
        RegistryClient().find(new_target(f"{NAME}:{tls.port}"))
    assert time.monotonic() - start < 1
    assert "ca-bundle" in str(caught.value)


def test_a_certificate_for_another_name(tls: RealRegistry, certificate: Path) -> None:
    with pytest.raises(RegistryError, match=r"not valid for 'other\.test'"):
        RegistryClient(ca_bundle=certificate).find(new_target(f"other.test:{tls.port}"))


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_bundle_that_can_not_be_read(tmp_path: Path, content: str | None) -> None:
    bundle = tmp_path / "bundle.pem"
    if content:
        bundle.write_text(content)
    with pytest.raises(RegistryError, match=f"{bundle} can't be read"):
        RegistryClient(ca_bundle=bundle).find(new_target(f"{NAME}:{free_port()}"))


def test_plain_http_beyond_loopback_only_where_it_is_allowed(registry: RealRegistry) -> None:
    target = new_target(f"{NAME}:{registry.port}")
    with pytest.raises(RegistryError, match="plain-http"):
        RegistryClient().find(target)
    push(target, plain_http=(target.repository.host,))


# Proxies


def test_a_proxy_for_plain_http(registry: RealRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultProxy(registry.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://bob:pass%20word@{proxy.address}")
        target = new_target(f"{NAME}:1")
        push(target, plain_http=(target.repository.host,))
        assert len(proxy.seen) > 5
        assert all(one.path.startswith(f"http://{NAME}:1/v2/") for one in proxy.seen)
        login = f"Basic {base64.b64encode(b'bob:pass word').decode()}"
        assert {one.headers["proxy-authorization"] for one in proxy.seen} == {login}


def test_a_proxy_for_tls(
    tls: RealRegistry, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultProxy(tls.port) as proxy:
        monkeypatch.setenv("https_proxy", proxy.address)
        push(new_target(NAME), ca_bundle=certificate)
        assert {(one.method, one.path) for one in proxy.seen} == {("CONNECT", f"{NAME}:443")}


@pytest.mark.parametrize("excepted", [NAME, f"example.com,{NAME}", ".test", "*"])
def test_hosts_that_are_excepted_from_the_proxy(
    registry: RealRegistry, monkeypatch: pytest.MonkeyPatch, excepted: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://localhost:{free_port()}")
    target = new_target(f"{NAME}:{registry.port}")
    with pytest.raises(RegistryError, match="gave no answer"):
        RegistryClient(plain_http=(target.repository.host,)).find(target)
    monkeypatch.setenv("NO_PROXY", excepted)
    push(target, plain_http=(target.repository.host,))


def test_loopback_is_never_reached_through_a_proxy(
    registry: RealRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PROXY_VARIABLES[:2]:
        monkeypatch.setenv(name, f"http://{NAME}:{free_port()}")
    push(new_target(registry.address))


def test_each_host_has_the_proxy_that_is_named_for_it(
    registry: RealRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry is inside, what it leads to is outside."""
    with FaultProxy(registry.port) as front, FaultProxy(registry.port) as way_out:
        target, image = new_target(front.address), make_image()
        image.push(RegistryClient(), target)
        monkeypatch.setenv("HTTP_PROXY", f"http://{way_out.address}")
        front.set(Rule(method="GET", path="/blobs/", fault=Redirect(to=f"http://{NAME}:1")))
        client = RegistryClient(plain_http=(f"{NAME}:1",))
        assert client.get_document(target.repository, image.config.digest)
        assert [one.path.partition("/v2/")[0] for one in way_out.seen] == [f"http://{NAME}:1"]


def test_a_proxy_that_can_not_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://localhost:1080")
    with pytest.raises(RegistryError, match="proxy that the environment names can't be used"):
        RegistryClient().find(new_target(NAME))
