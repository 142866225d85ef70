"""What goes wrong between us and a registry: survived, or said, and never half an image."""

import hashlib
import json
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path

import pytest
from urllib3.util import Timeout

from aicore_build import transport
from aicore_build.errors import RegistryError
from aicore_build.reference import Digest, Repository, TagReference
from aicore_build.registry import Blob, RegistryClient, bytes_blob
from tests.integration.faults import (
    Alter,
    Answer,
    Cut,
    CutAnswer,
    Fault,
    FaultProxy,
    Hang,
    Image,
    Lose,
    RealRegistry,
    RefuseMount,
    Rule,
    Trickle,
    make_image,
    new_target,
)

THROTTLED = Answer(status=HTTPStatus.TOO_MANY_REQUESTS, headers={"Retry-After": "1"})
ERROR = Answer(status=HTTPStatus.INTERNAL_SERVER_ERROR)
BAD_GATEWAY = Answer(status=HTTPStatus.BAD_GATEWAY)
UNAVAILABLE = Answer(status=HTTPStatus.SERVICE_UNAVAILABLE)

ASK = ("HEAD", "/manifests/")
GET_MANIFEST = ("GET", "/manifests/")
GET_BLOB = ("GET", "/blobs/")
BEGIN = ("POST", "/uploads/")
SEND = ("PUT", "/uploads/")
TAG = ("PUT", "/manifests/")

MB = 1_000_000


@pytest.fixture(autouse=True)
def _no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with RealRegistry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def other_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with RealRegistry(tmp_path_factory.mktemp("other")) as running:
        yield running


@pytest.fixture
def proxy(registry: RealRegistry) -> Iterator[FaultProxy]:
    with FaultProxy(registry.port) as running:
        yield running


@dataclass(kw_only=True)
class Tag:
    """A tag that points to an image already, and is about to be given another one."""

    registry: RealRegistry
    target: TagReference
    """By way of the proxy."""

    before: Image
    after: Image

    def push(self) -> None:
        """What a run of the tool sends and asks, in a process of its own."""
        client = RegistryClient()
        self.after.push(client, self.target)
        client.get_manifest(self.target)
        client.get_document(self.target.repository, self.after.config.digest)

    def check(self, image: Image) -> None:
        """The tag points to this image, and all of it is there."""
        path, tag = self.target.repository.path, self.target.tag
        assert self.registry.digest_of_whole_image(path, tag) == image.manifest.digest


def make_tag(registry: RealRegistry, proxy: FaultProxy, size: int = 100_000) -> Tag:
    target, before = new_target(proxy.address), make_image()
    direct = replace(target, repository=replace(target.repository, host=registry.address))
    before.push(RegistryClient(), direct)
    return Tag(registry=registry, target=target, before=before, after=make_image(size))


def rule(request: tuple[str, str], fault: Fault, times: int | None = 1, skip: int = 0) -> Rule:
    method, path = request
    return Rule(method=method, path=path, fault=fault, times=times, skip=skip)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(ERROR, id="500"),
        pytest.param(BAD_GATEWAY, id="502"),
        pytest.param(UNAVAILABLE, id="503"),
        pytest.param(Cut(), id="reset"),
        pytest.param(Lose(), id="answer lost"),
    ],
)
@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(ASK, id="ask"),
        pytest.param(GET_MANIFEST, id="get manifest"),
        pytest.param(GET_BLOB, id="get blob"),
        pytest.param(BEGIN, id="begin"),
        pytest.param(SEND, id="send"),
        pytest.param(TAG, id="tag"),
    ],
)
def test_a_fault_once_is_survived(
    registry: RealRegistry, proxy: FaultProxy, request_: tuple[str, str], fault: Fault
) -> None:
    tag = make_tag(registry, proxy)
    proxy.set(rule(request_, fault))
    tag.push()
    assert proxy.faults == 1
    tag.check(tag.after)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(GET_MANIFEST, id="get manifest"),
        pytest.param(SEND, id="send"),
        pytest.param(TAG, id="tag"),
    ],
)
def test_a_registry_that_throttles_is_waited_for(
    registry: RealRegistry, proxy: FaultProxy, request_: tuple[str, str]
) -> None:
    tag = make_tag(registry, proxy)
    proxy.set(rule(request_, THROTTLED))
    start = time.monotonic()
    tag.push()
    assert 1 <= time.monotonic() - start < 5
    assert proxy.faults == 1
    tag.check(tag.after)


@pytest.mark.parametrize("after", [1, 5 * MB], ids=["beginning", "middle"])
def test_a_reset_within_an_upload(registry: RealRegistry, proxy: FaultProxy, after: int) -> None:
    tag = make_tag(registry, proxy, size=10 * MB)
    proxy.set(rule(SEND, Cut(after=after)))
    tag.push()
    assert proxy.faults == 1
    assert proxy.bytes_up > 10 * MB + after, "the beginning was to be sent twice"
    tag.check(tag.after)


def test_many_faults_in_a_row(registry: RealRegistry, proxy: FaultProxy) -> None:
    tag = make_tag(registry, proxy)
    faults: tuple[Fault, ...] = (ERROR, Cut(after=50_000), UNAVAILABLE, Lose())
    proxy.set(
        *(rule(("PUT", "/"), fault, skip=skip) for skip, fault in enumerate(faults)),
        rule(BEGIN, Cut(), skip=1),
    )
    tag.push()
    assert proxy.faults == 5
    tag.check(tag.after)


def test_a_blob_whose_answer_is_lost_is_not_sent_again(
    registry: RealRegistry, proxy: FaultProxy
) -> None:
    target, blob = new_target(proxy.address), bytes_blob(b"x" * 100_000)
    proxy.set(rule(SEND, Lose()))
    assert RegistryClient().upload(target.repository, blob)
    assert proxy.count("PUT", "/uploads/") == 1
    assert _stored(registry, target.repository, blob.digest)


def test_a_blob_that_is_not_mounted_is_not_sent_again_either(
    registry: RealRegistry, proxy: FaultProxy
) -> None:
    client, blob = RegistryClient(), make_image().layer
    source, target = (new_target(proxy.address).repository for _ in range(2))
    client.upload(source, blob)
    from_source = ("POST", urllib.parse.urlencode({"from": source.path}))
    proxy.set(rule(from_source, RefuseMount(), times=None), rule(SEND, Lose()))
    assert client.upload(target, blob, mount_from=source)
    assert proxy.count("PUT", "/uploads/") == 1
    assert _stored(registry, target, blob.digest)


FOR_EVER: list[tuple[tuple[str, str], Fault, str]] = [
    (ASK, ERROR, "500 Internal Server Error"),
    (GET_MANIFEST, BAD_GATEWAY, "502 Bad Gateway"),
    (GET_BLOB, Cut(), "Connection reset"),
    (BEGIN, UNAVAILABLE, "503 Service Unavailable"),
    (BEGIN, Lose(), "Connection reset"),
    (SEND, ERROR, "500 Internal Server Error"),
    (SEND, Cut(after=1000), "gave no answer"),
    (SEND, Hang(seconds=2), "Read timed out"),
    (TAG, UNAVAILABLE, "503 Service Unavailable"),
    (TAG, THROTTLED, "429 Too Many Requests"),
]


def test_a_fault_for_ever_ends_with_its_reason(
    registry: RealRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at the same time, since most of it is waiting."""
    monkeypatch.setattr(transport, "_TIMEOUT", Timeout(connect=1, read=1))

    def push(request: tuple[str, str], fault: Fault) -> tuple[str, float]:
        with FaultProxy(registry.port) as proxy:
            tag = make_tag(registry, proxy)
            proxy.set(rule(request, fault, times=None))
            start = time.monotonic()
            with pytest.raises(RegistryError) as caught:
                tag.push()
            took = time.monotonic() - start
            assert 1 < proxy.faults < 10
            tag.check(tag.after if request in {GET_MANIFEST, GET_BLOB} else tag.before)
            proxy.set()
            tag.push()
            tag.check(tag.after)
            assert tag.target.repository.host in str(caught.value)
            return str(caught.value), took

    with ThreadPoolExecutor(len(FOR_EVER)) as executor:
        results = [executor.submit(push, request, fault) for request, fault, _ in FOR_EVER]
    for (request, _, reason), result in zip(FOR_EVER, results, strict=True):
        said, took = result.result()
        assert reason in said
        assert "un the command again" in said or "can simply be run again" in said
        assert took < 15, request


@pytest.mark.parametrize("request_", [GET_MANIFEST, GET_BLOB, BEGIN, TAG], ids=str)
def test_a_slow_registry(
    registry: RealRegistry, proxy: FaultProxy, request_: tuple[str, str]
) -> None:
    tag = make_tag(registry, proxy)
    proxy.set(rule(request_, Trickle(piece=40, pause=0.02)))
    tag.push()
    assert proxy.faults == 1
    tag.check(tag.after)


def test_a_registry_that_hangs(
    registry: RealRegistry, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_TIMEOUT", Timeout(connect=1, read=1))
    tag = make_tag(registry, proxy)
    proxy.set(rule(SEND, Hang(seconds=3)))
    start = time.monotonic()
    tag.push()
    assert 1 < time.monotonic() - start < 3
    tag.check(tag.after)


@pytest.mark.parametrize(
    ("fault", "posts"),
    [
        pytest.param(RefuseMount(), 1, id="202"),
        pytest.param(Answer(status=HTTPStatus.NOT_FOUND), 2, id="404"),
        pytest.param(Answer(status=HTTPStatus.METHOD_NOT_ALLOWED), 2, id="405"),
        pytest.param(Answer(status=HTTPStatus.BAD_REQUEST), 2, id="400"),
    ],
)
def test_a_mount_that_is_refused(
    registry: RealRegistry, proxy: FaultProxy, fault: Fault, posts: int
) -> None:
    client, blob = RegistryClient(), bytes_blob(b"y" * 100_000)
    source, target = (new_target(proxy.address).repository for _ in range(2))
    client.upload(source, blob)
    proxy.set(rule(("POST", "mount="), fault))
    assert client.upload(target, blob, mount_from=source)
    assert proxy.count("POST", "/uploads/") == posts
    assert _stored(registry, target, blob.digest)


@pytest.mark.parametrize("session_ends", ["cancelled", "registry restarted"])
def test_an_upload_session_that_is_gone(tmp_path: Path, session_ends: str) -> None:
    with RealRegistry(tmp_path / "own") as registry:
        client, target = RegistryClient(), new_target(registry.address)
        blob = bytes_blob(b"z" * 100_000)
        session = client.open_upload(target.repository)
        if session_ends == "cancelled":
            client.cancel_upload(target.repository, session)
        else:
            registry.kill()
            registry.start()
        assert client.upload(target.repository, blob, session=session)
        assert _stored(registry, target.repository, blob.digest)


def test_a_registry_that_forgets_all_uploads(registry: RealRegistry, proxy: FaultProxy) -> None:
    unknown = Answer(
        status=HTTPStatus.NOT_FOUND,
        body=json.dumps({"errors": [{"code": "BLOB_UPLOAD_UNKNOWN"}]}).encode(),
    )
    tag = make_tag(registry, proxy)
    proxy.set(rule(SEND, unknown, times=None))
    with pytest.raises(RegistryError, match="the registry forgets its uploads"):
        tag.push()
    tag.check(tag.before)


def test_a_registry_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    with RealRegistry(tmp_path / "own") as registry, FaultProxy(registry.port) as proxy:
        tag = make_tag(registry, proxy, size=10 * MB)

        def restart_later() -> None:
            registry.kill()
            threading.Timer(1, registry.start).start()

        proxy.set(rule(SEND, Cut(after=5 * MB, then=restart_later)))
        tag.push()
        assert proxy.faults == 1
        tag.check(tag.after)


def test_a_registry_that_is_killed_and_stays_away(tmp_path: Path) -> None:
    with RealRegistry(tmp_path / "own") as registry, FaultProxy(registry.port) as proxy:
        tag = make_tag(registry, proxy, size=10 * MB)
        proxy.set(rule(SEND, Cut(after=5 * MB, then=registry.kill)))
        start = time.monotonic()
        with pytest.raises(RegistryError, match="gave no answer"):
            tag.push()
        assert time.monotonic() - start < 15
        registry.start()
        tag.check(tag.before)
        tag.push()
        tag.check(tag.after)


def test_a_registry_that_was_never_there_is_not_waited_for(tmp_path: Path) -> None:
    registry = RealRegistry(tmp_path)
    start = time.monotonic()
    with pytest.raises(RegistryError, match=rf"{registry.address} gave no answer.*refused"):
        RegistryClient().find(new_target(registry.address))
    assert time.monotonic() - start < 1


def test_two_threads_with_the_same_blob(registry: RealRegistry, proxy: FaultProxy) -> None:
    target, blob = new_target(proxy.address), make_image(5 * MB).layer
    # Both are sure to begin before either has ended.
    proxy.set(rule(SEND, Trickle(piece=40, pause=0.02), times=None))
    client = RegistryClient(jobs=2)
    with ThreadPoolExecutor(2) as executor:
        sent = list(executor.map(lambda _: client.upload(target.repository, blob), range(2)))
    assert True in sent
    assert _stored(registry, target.repository, blob.digest)


def test_two_runs_for_the_same_tag(registry: RealRegistry, proxy: FaultProxy) -> None:
    first = make_tag(registry, proxy, size=5 * MB)
    second = replace(first, after=make_image(5 * MB))
    with ThreadPoolExecutor(2) as executor:
        for run in [executor.submit(tag.push) for tag in (first, second)]:
            run.result()
    path, tag = first.target.repository.path, first.target.tag
    whole = registry.digest_of_whole_image(path, tag)
    assert whole in {first.after.manifest.digest, second.after.manifest.digest}


def test_a_config_that_is_not_what_its_digest_says(
    registry: RealRegistry, proxy: FaultProxy
) -> None:
    tag = make_tag(registry, proxy)
    proxy.set(rule(GET_BLOB, Alter()))
    with pytest.raises(RegistryError, match=rf"damaged blob.*{tag.after.config.digest}"):
        tag.push()
    tag.push()
    tag.check(tag.after)


def test_a_manifest_that_is_not_what_its_digest_says(
    registry: RealRegistry, proxy: FaultProxy
) -> None:
    tag = make_tag(registry, proxy)
    pinned = tag.target.pinned(tag.before.manifest.digest)
    proxy.set(rule(GET_MANIFEST, Alter(), times=None))
    for reference in (tag.target, pinned):
        with pytest.raises(RegistryError, match="damaged manifest"):
            RegistryClient().get_manifest(reference)
    other = Answer(status=HTTPStatus.OK, body=tag.after.manifest.raw)
    proxy.set(rule(GET_MANIFEST, other))
    with pytest.raises(RegistryError, match="damaged manifest"):
        RegistryClient().get_manifest(pinned)
    assert RegistryClient().get_manifest(pinned) == tag.before.manifest


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A blob that is about to go from one registry to another."""

    source: Repository
    target: Repository
    blob: Blob
    stored_in: RealRegistry

    def run(self, size: int | None = None) -> None:
        RegistryClient().copy_blob(
            self.source, self.target, self.blob.digest, self.blob.size if size is None else size
        )

    def arrived(self) -> bool:
        return _stored(self.stored_in, self.target, self.blob.digest)


@pytest.fixture
def copy(proxy: FaultProxy, other_registry: RealRegistry) -> Copy:
    source = new_target(proxy.address).repository
    target = new_target(other_registry.address).repository
    blob = make_image(5 * MB).layer
    RegistryClient().upload(source, blob)
    return Copy(source=source, target=target, blob=blob, stored_in=other_registry)


def test_a_blob_is_carried_to_another_registry_once(copy: Copy, proxy: FaultProxy) -> None:
    proxy.set()
    copy.run()
    assert copy.arrived()
    copy.run()
    assert proxy.count("GET", "/blobs/") == 1


@pytest.mark.parametrize("fault", [CutAnswer(after=3 * MB), Lose(), ERROR], ids=repr)
def test_a_source_that_fails_once(copy: Copy, proxy: FaultProxy, fault: Fault) -> None:
    proxy.set(rule(GET_BLOB, fault))
    copy.run()
    assert proxy.faults == 1
    assert copy.arrived()


def test_a_source_that_breaks_off_for_ever_is_the_one_that_is_named(
    copy: Copy, proxy: FaultProxy
) -> None:
    proxy.set(rule(GET_BLOB, CutAnswer(after=3 * MB), times=None))
    with pytest.raises(RegistryError, match=rf"read {copy.blob.digest} of {copy.source} to its"):
        copy.run()
    assert not copy.arrived()


def test_a_damaged_blob_does_not_arrive(copy: Copy, proxy: FaultProxy) -> None:
    proxy.set(rule(GET_BLOB, Alter()))
    with pytest.raises(RegistryError, match=rf"{copy.source} has a damaged blob"):
        copy.run()
    assert not copy.arrived()
    copy.run()
    assert copy.arrived()


@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_blob_of_another_size_than_the_manifest_says(copy: Copy, wrong: int) -> None:
    start = time.monotonic()
    with pytest.raises(RegistryError, match="damaged blob"):
        copy.run(copy.blob.size + wrong)
    assert time.monotonic() - start < 5
    assert not copy.arrived()


def test_a_source_without_the_blob(copy: Copy) -> None:
    missing = replace(copy, source=new_target(copy.source.host).repository)
    with pytest.raises(RegistryError, match=rf"read {copy.blob.digest} of {missing.source}"):
        missing.run()


MEASURE = """\
import sys
from aicore_build.reference import Repository
from aicore_build.registry import RegistryClient

def peak():  # of this program: getrusage begins with the peak of the one that started it
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

source, target, path, digest, size = sys.argv[1:]
client = RegistryClient()
for host in (source, target):
    client.cancel_upload(
        Repository(host=host, path=path), client.open_upload(Repository(host=host, path=path))
    )
idle = peak()
client.copy_blob(
    Repository(host=source, path=path), Repository(host=target, path=path), digest, int(size)
)
print(peak() - idle)
"""


def test_a_large_blob_is_carried_over_in_little_memory(
    registry: RealRegistry, other_registry: RealRegistry, tmp_path: Path
) -> None:
    file, size = tmp_path / "blob", 200 * 1024 * 1024
    with file.open("wb") as content:
        content.truncate(size)
    with file.open("rb") as content:
        digest = Digest(f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}")
    path = new_target("").repository.path
    blob = Blob(digest=digest, size=size, open=lambda: file.open("rb"))
    RegistryClient().upload(Repository(host=registry.address, path=path), blob)

    arguments = [registry.address, other_registry.address, path, digest, str(size)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=True
    )

    assert int(done.stdout) < 60 * 1024, "KB"
    assert _stored(other_registry, Repository(host="", path=path), digest)


def _stored(registry: RealRegistry, repository: Repository, digest: Digest) -> bool:
    content = registry.read(f"{repository.path}/blobs/{digest}")
    return content is not None and f"sha256:{hashlib.sha256(content).hexdigest()}" == digest
