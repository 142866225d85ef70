"""`prod --builder registry` as a whole: stopped anywhere, twice at once, with a dying registry."""

import gzip
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from aicore_build.reference import TagReference, parse_reference
from aicore_build.registry import (
    OCI_MANIFEST,
    Blob,
    Manifest,
    RegistryClient,
    bytes_blob,
    digest_of,
)
from tests.integration.conftest import Project
from tests.integration.faults import Answer, Cut, FaultProxy, Hang, RealRegistry, Rule
from tests.integration.servers import free_port

NEXT_REQUESTS = ("GET", "/manifests/"), ("POST", "/uploads/"), ("PUT", "/uploads/"), ("PUT", "/man")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RealRegistry]:
    with RealRegistry(tmp_path / "registry") as registry:
        yield registry


@pytest.fixture
def proxy(registry: RealRegistry) -> Iterator[FaultProxy]:
    with FaultProxy(registry.port) as proxy:
        yield proxy


@pytest.fixture
def dev(project: Project, proxy: FaultProxy) -> Project:
    """A project whose dev image is in a registry of its own, behind the proxy; no Docker."""
    target = parse_reference(f"{proxy.address}/flows/a:v1")
    assert isinstance(target, TagReference)
    _push_image(target)
    project.write_flow(str(target))
    project.write_settings()
    project.environment |= {
        "AICORE_BUILD_BUILDER": "registry",
        "DOCKER_HOST": "unix:///nowhere/docker.sock",
    }
    return project


def _push_image(target: TagReference) -> None:
    """An image of one layer, which is enough for what only the registry looks at."""
    client = RegistryClient()
    layer = bytes_blob(gzip.compress(bytes(10240), mtime=0))
    plain = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(bytes(10240))]},
    }
    config = bytes_blob(json.dumps(plain).encode())
    for blob in (layer, config):
        client.upload(target.repository, blob)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
    }
    client.put_manifest(
        target, Manifest(raw=json.dumps(document).encode(), media_type=OCI_MANIFEST)
    )


def _descriptor(media_type: str, blob: Blob) -> dict[str, object]:
    return {"mediaType": media_type, "size": blob.size, "digest": blob.digest}


def _tags(registry: RealRegistry) -> dict[str, str | None]:
    """Each tag of the repository, with the digest of its image, which is read as a whole."""
    listing = registry.read("flows/a/tags/list")
    names = json.loads(listing or b"{}").get("tags") or []
    return {name: registry.digest_of_whole_image("flows/a", name) for name in names}


def _start(project: Project) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        project.command("prod", "--json"),
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )


@pytest.mark.parametrize(("method", "path"), NEXT_REQUESTS)
def test_stopped_while_the_registry_is_asked(
    dev: Project, registry: RealRegistry, proxy: FaultProxy, method: str, path: str
) -> None:
    proxy.set(Rule(method=method, path=path, fault=Hang(seconds=20)))
    process = _start(dev)
    while not proxy.faults:
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=5)

    assert process.returncode == 130, said
    assert set(_tags(registry)) == {"v1"}
    assert not list(dev.folder.glob("*.json"))
    proxy.set()
    [image] = json.loads(dev.succeed("prod", "--json"))["images"]
    assert image["digest"] in _tags(registry).values()


def test_two_at_once_for_the_same_target(dev: Project, registry: RealRegistry) -> None:
    runs = [_start(dev) for _ in range(2)]
    answers = [run.communicate(timeout=60) for run in runs]

    assert [run.returncode for run in runs] == [0, 0], answers
    images = [json.loads(out)["images"][0] for out, _ in answers]
    assert images[0]["digest"] == images[1]["digest"]
    assert images[0]["digest"] in _tags(registry).values()


def test_registry_killed_in_an_upload_and_back_again(
    dev: Project, registry: RealRegistry, proxy: FaultProxy
) -> None:
    def restart() -> None:
        registry.kill()
        registry.start()

    proxy.set(Rule(method="PUT", path="/uploads/", fault=Cut(after=1000, then=restart)))
    [image] = json.loads(dev.succeed("prod", "--json"))["images"]
    assert proxy.faults == 1
    assert image["digest"] in _tags(registry).values()


def test_registry_in_trouble_leaves_what_was_there(
    dev: Project, registry: RealRegistry, proxy: FaultProxy
) -> None:
    dev.succeed("prod")
    before, template = _tags(registry), (dev.folder / "flow.json").read_bytes()
    (dev.folder / "flow.py").write_text((dev.folder / "flow.py").read_text() + "# changed\n")
    trouble = Answer(status=HTTPStatus.SERVICE_UNAVAILABLE)
    proxy.set(Rule(method="PUT", path="/manifests/", fault=trouble, times=None))

    done = dev.run("prod")

    assert done.returncode == 7, done.stderr
    assert "503" in done.stderr
    assert _tags(registry) == before
    assert (dev.folder / "flow.json").read_bytes() == template
    proxy.set()
    dev.succeed("prod")
    assert len(_tags(registry)) == len(before) + 1


def test_registry_that_is_down_from_the_beginning(project: Project) -> None:
    project.write_flow(f"localhost:{free_port()}/a:v1")
    project.write_settings()
    began = time.monotonic()
    done = project.run("prod", "--builder", "registry")
    assert done.returncode == 7
    assert "Connection refused" in done.stderr
    assert time.monotonic() - began < 10


def test_few_requests(dev: Project, proxy: FaultProxy) -> None:
    """The mark of the benchmark, as a guard: what prod needs to embed into one image."""
    proxy.set()
    dev.succeed("prod")
    assert len(proxy.seen) <= 8, [f"{seen.method} {seen.path}" for seen in proxy.seen]
