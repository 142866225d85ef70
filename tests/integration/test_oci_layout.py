"""Prod images in a folder, read by the tools that people carry images over with."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from aicore_build.reference import parse_reference
from aicore_build.registry import OCI_INDEX, OCI_MANIFEST, Manifest, RegistryClient
from tests.integration.conftest import Project
from tests.integration.faults import CutAnswer, FaultProxy, Rule
from tests.integration.servers import plain_registry
from tests.sandbox import debian
from tests.sandbox.state import Store

NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


@pytest.fixture(scope="module", autouse=True)
def _umoci() -> None:
    debian.install(Store.of(os.environ), ["umoci"])


@pytest.fixture
def dev(project: Project) -> Project:
    """A project with two dev images in the registry, of one build; no Docker Engine any more."""
    project.write_flow(project.image("a:v1"), project.image("b:v1"))
    project.write_settings()
    project.succeed("dev", "--no-template")
    project.environment |= {"AICORE_BUILD_BUILDER": "registry", **NO_ENGINE}
    return project


def prod(project: Project, *arguments: str) -> list[dict[str, Any]]:
    """Run prod into `images`; return the images."""
    text = project.succeed("prod", "--json", "--push-to", "oci:images", *arguments)
    images: list[dict[str, Any]] = json.loads(text)["images"]
    return images


def call(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def index(layout: Path) -> dict[str, dict[str, Any]]:
    """The descriptors of an image layout by their reference."""
    document = json.loads((layout / "index.json").read_text())
    name = "org.opencontainers.image.ref.name"
    assert document["schemaVersion"] == 2
    return {d["annotations"][name]: d for d in document["manifests"]}


def files(folder: Path) -> dict[str, tuple[int, int]]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def find(reference: str) -> Manifest | None:
    return RegistryClient().get_manifest(parse_reference(reference))


def put_dev_image(project: Project, name: str, manifest: Manifest) -> None:
    where = parse_reference(project.image(name))
    url = f"http://{where.repository.host}/v2/{where.repository.path}/manifests/v1"
    answer = urllib3.request(
        "PUT", url, body=manifest.raw, headers={"Content-Type": manifest.media_type}
    )
    assert answer.status == 201, answer.data


def test_layout_is_whole_and_nothing_is_pushed(dev: Project) -> None:
    images = prod(dev)
    layout = dev.folder / "images"

    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert {path.name for path in layout.iterdir()} == {"oci-layout", "index.json", "blobs"}
    blobs = {path.name: path for path in (layout / "blobs" / "sha256").iterdir()}
    for name, path in blobs.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == name
    named = index(layout)
    assert list(named) == [image["reference"] for image in images]
    used = set()
    for image in images:
        descriptor = named[image["reference"]]
        assert descriptor["digest"] == image["digest"]
        assert descriptor["mediaType"] == OCI_MANIFEST
        manifest = json.loads(blobs[image["digest"].removeprefix("sha256:")].read_bytes())
        for part in (descriptor, manifest["config"], *manifest["layers"]):
            assert blobs[part["digest"].removeprefix("sha256:")].stat().st_size == part["size"]
            assert part["mediaType"].startswith("application/vnd.oci.image.")
            used.add(part["digest"].removeprefix("sha256:"))
        assert find(image["reference"]) is None
    assert set(blobs) == used
    template = (dev.folder / "flow.json").read_text()
    assert all(image["pinned"] in template for image in images)


def test_again_changes_nothing(dev: Project) -> None:
    first = prod(dev)
    before = files(dev.folder)
    second = prod(dev)
    assert files(dev.folder) == before
    assert [image["built"] for image in (*first, *second)] == [True, True, False, False]
    forced = prod(dev, "--force")
    assert [image["digest"] for image in forced] == [image["digest"] for image in first]
    assert files(dev.folder) == before


def test_skopeo_and_umoci_accept_it(dev: Project, tmp_path: Path) -> None:
    for image in prod(dev):
        source = f"{dev.folder}/images:{image['reference']}"
        inspected = json.loads(call("skopeo", "inspect", f"oci:{source}"))
        assert inspected["Digest"] == image["digest"]
        config = json.loads(call("skopeo", "inspect", "--config", f"oci:{source}"))["config"]
        assert "HOME=/user/home" in config["Env"]
        call("skopeo", "copy", f"oci:{source}", f"dir:{tmp_path / 'copied'}")
        shutil.rmtree(tmp_path / "copied")

        bundle = tmp_path / "bundle"
        call("umoci", "unpack", "--rootless", "--image", source, str(bundle))
        assert (bundle / "rootfs/user/home/flow.py").read_bytes() == (
            dev.folder / "flow.py"
        ).read_bytes()
        process = json.loads((bundle / "config.json").read_text())["process"]
        assert process["cwd"] == "/user/home"
        subprocess.run(["chmod", "-R", "u+rwX", bundle], check=True)
        shutil.rmtree(bundle)
    listed = call("umoci", "ls", "--layout", f"{dev.folder}/images").split()
    assert sorted(listed) == sorted(index(dev.folder / "images"))


def test_carried_over_by_hand_it_is_what_the_workflow_template_names(dev: Project) -> None:
    images = prod(dev)
    assert dev.run("check-lock").returncode == 12
    for image in images:
        call(
            "skopeo",
            "copy",
            "--all",
            "--preserve-digests",
            "--dest-tls-verify=false",
            f"oci:{dev.folder}/images:{image['reference']}",
            f"docker://{image['reference']}",
        )
        manifest = find(image["pinned"])
        assert manifest is not None
        assert manifest.digest == image["digest"]
    dev.succeed("check-lock")
    assert (
        json.loads(dev.succeed("prod", "--locked", "--json"))["images"][0]["digest"]
        == (images[0]["digest"])
    )


def test_locked_looks_into_the_layout(dev: Project) -> None:
    prod(dev)
    prod(dev, "--locked")
    before = files(dev.folder)
    assert dev.run("prod", "--locked").returncode == 12  # the registry has none of it
    done = dev.run("prod", "--locked", "--push-to", "oci:elsewhere")
    assert done.returncode == 12
    assert files(dev.folder) == before
    assert not (dev.folder / "elsewhere").exists()


def test_oci_base_is_left_as_it_is(dev: Project) -> None:
    docker = find(dev.image("a:v1"))
    assert docker is not None
    text = docker.raw.decode()
    for old, new in (
        ("application/vnd.docker.distribution.manifest.v2+json", OCI_MANIFEST),
        (
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.oci.image.config.v1+json",
        ),
        (
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.oci.image.layer.v1.tar+gzip",
        ),
    ):
        text = text.replace(old, new)
    oci = Manifest(raw=text.encode(), media_type=OCI_MANIFEST)
    put_dev_image(dev, "a:v1", oci)
    dev.write_flow(dev.image("a:v1"))
    dev.write_settings(f'registry = "{dev.image("ours")}"')

    [into_layout] = prod(dev)
    [pushed] = json.loads(dev.succeed("prod", "--json"))["images"]

    assert into_layout["digest"] == pushed["digest"]
    call("skopeo", "inspect", f"oci:{dev.folder}/images:{into_layout['reference']}")


def test_index_as_base_gives_the_image_of_the_platform(dev: Project) -> None:
    docker = find(dev.image("a:v1"))
    assert docker is not None
    entry = {"mediaType": docker.media_type, "digest": docker.digest, "size": len(docker.raw)}
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{**entry, "platform": {"os": "linux", "architecture": "amd64"}}],
    }
    put_dev_image(dev, "a:v1", Manifest(raw=json.dumps(document).encode(), media_type=OCI_INDEX))
    dev.write_flow(dev.image("a:v1"))
    dev.write_settings(f'registry = "{dev.image("ours")}"')
    [image] = prod(dev)
    assert index(dev.folder / "images")[image["reference"]]["mediaType"] == OCI_MANIFEST
    call("skopeo", "inspect", f"oci:{dev.folder}/images:{image['reference']}")


def test_other_images_of_the_layout_stay(dev: Project) -> None:
    layout = dev.folder / "images"
    call("umoci", "init", "--layout", str(layout))
    call("umoci", "new", "--image", f"{layout}:mine")
    images = prod(dev)
    assert sorted(index(layout)) == sorted(["mine", *(image["reference"] for image in images)])
    call("umoci", "stat", "--image", f"{layout}:mine")


def test_changed_code_adds_one_image_and_base_layers_stay(dev: Project) -> None:
    prod(dev)
    before = files(dev.folder / "images" / "blobs")
    (dev.folder / "helper.py").write_text("VALUE = 1\n")
    images = prod(dev)
    after = files(dev.folder / "images" / "blobs")
    assert before.items() <= after.items()
    assert len(after) - len(before) == 1 + 2 * len(images)  # one layer, configs and manifests
    assert len(index(dev.folder / "images")) == 2 * len(images)


def test_part_of_a_layout_that_is_gone_is_brought_again(dev: Project) -> None:
    prod(dev)
    blobs = dev.folder / "images" / "blobs" / "sha256"
    before = {path.name: path.read_bytes() for path in blobs.iterdir()}
    largest = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(b"cut short")
    prod(dev)
    assert {path.name: path.read_bytes() for path in blobs.iterdir()} == before


@pytest.fixture
def proxy(dev: Project) -> Iterator[FaultProxy]:
    """Before the registry, where the flow now has its dev images."""
    host = parse_reference(dev.image("a:v1")).repository.host
    with FaultProxy(int(host.rpartition(":")[2])) as proxy:
        dev.registry = dev.registry.replace(host, proxy.address)
        dev.write_flow(dev.image("a:v1"), dev.image("b:v1"))
        yield proxy


def test_registry_is_only_read_and_each_layer_once(dev: Project, proxy: FaultProxy) -> None:
    prod(dev)
    manifest = find(dev.image("a:v1"))
    assert manifest is not None
    assert proxy.count("POST|PUT|PATCH|DELETE", "") == 0
    for layer in manifest.parsed()["layers"]:
        assert proxy.count("GET", layer["digest"]) == 1


def test_a_layer_that_breaks_off_is_read_again(dev: Project, proxy: FaultProxy) -> None:
    manifest = find(dev.image("a:v1"))
    assert manifest is not None
    largest = max(manifest.parsed()["layers"], key=lambda layer: int(layer["size"]))
    proxy.set(Rule(method="GET", path=largest["digest"], fault=CutAnswer(after=10_000)))
    [image, _] = prod(dev)
    assert proxy.count("GET", largest["digest"]) == 2
    call("skopeo", "inspect", f"oci:{dev.folder}/images:{image['reference']}")


@pytest.fixture
def damaged(dev: Project, tmp_path: Path) -> Iterator[Project]:
    """A dev image in a registry whose largest layer is not what its digest says."""
    with plain_registry(tmp_path) as host:
        reference = f"{host}/a:v1"
        source, target = f"docker://{dev.image('a:v1')}", f"docker://{reference}"
        flags = ["--src-tls-verify=false", "--dest-tls-verify=false"]
        call("skopeo", "copy", "--preserve-digests", *flags, source, target)
        stored = (tmp_path / "plain").rglob("data")
        largest = max(stored, key=lambda path: path.stat().st_size)
        content = bytearray(largest.read_bytes())
        content[len(content) // 2] ^= 255
        largest.write_bytes(content)
        dev.write_flow(reference)
        yield dev


def test_damaged_base_layer_is_not_written(damaged: Project) -> None:
    done = damaged.run("prod", "--push-to", "oci:images")
    assert done.returncode == 7
    assert "damaged" in done.stderr
    layout = damaged.folder / "images"
    for path in (layout / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    assert not (layout / "index.json").exists()
    assert not list(layout.glob(".aicore-build-*"))
    assert not (damaged.folder / "flow.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--push-to", "images"], "'images', but has to be oci:", id="no scheme"),
        pytest.param(["--push-to", "oci:"], "has to be oci: and a folder", id="no folder"),
        pytest.param(["--push-to", "oci:a:v1"], "has no ':'", id="a reference"),
        pytest.param(["--push-to", ""], "has to be oci:", id="empty"),
        pytest.param(["--push-to", "docker://a"], "has to be oci:", id="a registry"),
        pytest.param(
            ["--push-to", "oci:images", "--builder", "docker"], "--builder registry", id="builder"
        ),
        pytest.param(["--push-to", "oci:images", "--no-push"], "--no-push", id="no push"),
        pytest.param(["--push-to", "oci:."], "is no OCI image layout, and not empty", id="taken"),
    ],
)
def test_what_is_refused(project: Project, arguments: list[str], said: str) -> None:
    project.write_flow(project.image("a:v1"))
    project.write_settings()
    before = files(project.folder)
    done = project.run("prod", "--builder", "registry", *arguments)
    assert done.returncode == 3
    assert said in done.stderr
    assert files(project.folder) == before
