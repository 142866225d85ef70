"""Prod images made in the registry alone, against those that Docker builds."""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import docker
import pytest

from aicore_build.reference import Digest, Repository, TagReference, parse_reference
from aicore_build.registry import OCI_INDEX, Manifest, RegistryClient
from tests.integration.conftest import QUICK_DOCKERFILE, Project
from tests.integration.servers import plain_registry
from tests.sandbox.state import Store
from tests.sandbox.upstream import upstream_python

NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


@pytest.fixture
def dev(project: Project) -> Project:
    """A project whose dev image is in the registry; only the registry builder is used."""
    project.write_flow(project.image("a:v1"))
    project.write_settings()
    project.succeed("dev", "--no-template")
    return _without_engine(project)


def _without_engine(project: Project) -> Project:
    project.environment |= {"AICORE_BUILD_BUILDER": "registry", **NO_ENGINE}
    return project


def prod(project: Project, *arguments: str) -> dict[str, Any]:
    """Run prod; return the document."""
    document: dict[str, Any] = json.loads(project.succeed("prod", "--json", *arguments))
    return document


def config_of(reference: str) -> dict[str, Any]:
    """The config of an image in the registry."""
    parsed = parse_reference(reference)
    client = RegistryClient()
    manifest = client.get_manifest(parsed)
    assert manifest is not None
    return client.get_document(parsed.repository, manifest.parsed()["config"]["digest"])


@pytest.mark.parametrize("path", [None, "/opt/lib:/opt/more", ""], ids=["none", "a path", "empty"])
@pytest.mark.parametrize("generator", ["sap", "metaflow"])
def test_image_is_that_of_docker_file_by_file(
    project: Project, engine: docker.DockerClient, generator: str, path: str | None
) -> None:
    """Also where the base image has a PYTHONPATH, before which Metaflow's goes."""
    pythons = {"sap": Path(sys.executable), "metaflow": upstream_python(Store.of(os.environ))}
    project.environment["AICORE_BUILD_GENERATOR"] = generator
    project.environment["AICORE_BUILD_PYTHON"] = str(pythons[generator])
    project.write_flow(project.image("a:v1"))
    project.write_settings()
    if path is not None:
        dockerfile = f"{QUICK_DOCKERFILE}ENV PYTHONPATH={path}\n"
        (project.folder / "Quick.Dockerfile").write_text(dockerfile)
    helper = project.folder / "tools" / "run.py"
    helper.parent.mkdir()
    helper.write_text("#!/usr/bin/env python\n")
    helper.chmod(0o700)
    [by_docker] = prod(project)["images"]
    [by_registry] = prod(_without_engine(project))["images"]

    assert by_docker["digest"] != by_registry["digest"]
    trees = [_tree(engine, image["pinned"]) for image in (by_docker, by_registry)]
    assert trees[0] == trees[1]
    configs = [config_of(image["pinned"]) for image in (by_docker, by_registry)]
    for key in ("Env", "WorkingDir", "User", "Cmd", "Entrypoint"):
        assert configs[0]["config"].get(key) == configs[1]["config"].get(key), key
    variables = dict(v.partition("=")[::2] for v in configs[0]["config"]["Env"])
    ours = ["/user/home/.mf_code"] if generator == "metaflow" else []
    assert variables.get("PYTHONPATH", "") == ":".join([*ours, *([path] if path else [])])
    assert ("METAFLOW_EXTRACTED_ROOT" in variables) is bool(ours)


def _tree(engine: docker.DockerClient, image: str) -> dict[str, tuple[object, ...]]:
    """All below /user: kind, mode, owner and content; of files the time too.

    Docker gives the folder that it copies to the time of the build.
    """
    name, _, digest = image.partition("@")
    by_digest = f"{name.rpartition(':')[0]}@{digest}"
    engine.images.pull(by_digest)
    container = engine.containers.create(by_digest, ["true"])
    try:
        chunks, _ = container.get_archive("/user")
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            return {
                member.name: (
                    member.type,
                    oct(member.mode),
                    member.uid,
                    member.gid,
                    member.isfile() and member.mtime,
                    _content(tar, member),
                )
                for member in tar.getmembers()
            }
    finally:
        container.remove()


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member) if member.isfile() else None
    return file.read() if file else b""


def test_nothing_changed_nothing_is_pushed_or_written(dev: Project) -> None:
    first = prod(dev)
    template = dev.folder / "flow.json"
    written = template.stat().st_mtime_ns
    second = prod(dev)

    assert [image["built"] for image in (*first["images"], *second["images"])] == [True, False]
    assert second["images"][0]["digest"] == first["images"][0]["digest"]
    assert template.stat().st_mtime_ns == written


def test_made_again_it_has_the_same_digest(dev: Project) -> None:
    [first] = prod(dev)["images"]
    [second] = prod(dev, "--force")["images"]
    assert second["built"]
    assert second["digest"] == first["digest"]


def test_the_time_of_creation_is_that_of_source_date_epoch(dev: Project) -> None:
    dev.environment["SOURCE_DATE_EPOCH"] = "1700000000"
    [image] = prod(dev)["images"]
    config = config_of(image["pinned"])
    assert config["created"] == "2023-11-14T22:13:20Z"
    labels = config["config"]["Labels"]
    assert labels["org.opencontainers.image.created"] == config["created"]
    assert labels["org.opencontainers.image.base.name"] == dev.image("a:v1")
    assert labels["org.opencontainers.image.base.digest"] in image["base_image"]


def test_an_image_built_on_a_prod_image_is_not_taken_for_it(
    dev: Project, engine: docker.DockerClient
) -> None:
    [image] = prod(dev)["images"]
    dockerfile = io.BytesIO(f"FROM {image['reference']}\nRUN touch /changed\n".encode())
    engine.images.build(fileobj=dockerfile, tag=image["reference"])
    engine.images.push(image["reference"])

    [again] = prod(dev)["images"]

    assert again["built"]
    assert again["digest"] == image["digest"]


def test_base_in_another_repository_is_mounted(dev: Project) -> None:
    [image] = prod(dev, "--registry", dev.image("ours"))["images"]
    assert image["reference"].startswith(dev.image("ours/"))
    _inspect(image["pinned"])


def test_base_in_another_registry_is_carried_over(dev: Project, tmp_path: Path) -> None:
    with plain_registry(tmp_path) as host:
        done = dev.run("prod", "--json", "--registry", f"{host}/ours")
        assert done.returncode == 0, done.stderr
        [image] = json.loads(done.stdout)["images"]
        assert "MB of base layers are copied" in done.stderr
        _inspect(image["pinned"])


def _push_index(reference: str, *architectures: str) -> str:
    """Push an index that has one image under several architectures; return its reference."""
    parsed = parse_reference(reference)
    client = RegistryClient()
    image = client.get_manifest(parsed)
    assert image is not None
    entry = {"mediaType": image.media_type, "size": len(image.raw), "digest": image.digest}
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {**entry, "platform": {"architecture": name, "os": "linux"}} for name in architectures
        ],
    }
    target = TagReference(repository=parsed.repository, tag="index")
    client.put_manifest(target, Manifest(raw=json.dumps(index).encode(), media_type=OCI_INDEX))
    return str(target)


def test_oci_base_stays_oci_and_an_index_gives_its_platform(dev: Project) -> None:
    oci = dev.image("oci:v1")
    _copy("--format=oci", f"docker://{dev.image('a:v1')}", f"docker://{oci}")
    dev.write_flow(oci, _push_index(oci, "arm64", "amd64"))
    client = RegistryClient()

    images = prod(dev)["images"]

    for image in images:
        manifest = client.get_manifest(parse_reference(image["pinned"]))
        assert manifest is not None
        assert "vnd.oci" in manifest.media_type
        document = manifest.parsed()
        assert {layer["mediaType"] for layer in document["layers"]} == {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        }
        assert document["annotations"]["org.opencontainers.image.base.digest"]
        _inspect(image["pinned"])


def test_an_index_without_the_platform_is_refused(dev: Project) -> None:
    dev.write_flow(_push_index(dev.image("a:v1"), "arm64"))

    done = dev.run("prod")

    assert done.returncode == 7
    assert "has no image for linux/amd64, only for linux/arm64" in done.stderr


def test_one_package_into_many_images_is_uploaded_once(project: Project) -> None:
    project.write_flow(project.image("one/a:v1"), project.image("two/b:v1"))
    project.write_settings()
    project.succeed("dev", "--no-template")

    images = prod(_without_engine(project))["images"]

    layers = []
    client = RegistryClient()
    for image in images:
        manifest = client.get_manifest(parse_reference(image["pinned"]))
        assert manifest is not None
        layers.append(manifest.parsed()["layers"][-1]["digest"])
    assert layers[0] == layers[1]
    repositories = {image["reference"].rpartition(":")[0] for image in images}
    assert len(repositories) == 2


def test_without_an_engine_dev_images_have_to_be_there(project: Project) -> None:
    project.write_flow(project.image("a:v1"))
    project.write_settings()
    done = project.run("prod", "--builder", "registry", environment=NO_ENGINE)
    assert done.returncode == 5
    assert "can't be reached" in done.stderr


def test_no_push_needs_an_engine(dev: Project) -> None:
    done = dev.run("prod", "--no-push")
    assert done.returncode == 3
    assert "--no-push" in done.stderr


def test_missing_base_blob_is_said(dev: Project) -> None:
    """The config of the dev image is gone from the registry, which still has the manifest."""
    parsed = parse_reference(dev.image("a:v1"))
    client = RegistryClient()
    manifest = client.get_manifest(parsed)
    assert manifest is not None
    _delete_blob(parsed.repository, manifest.parsed()["config"]["digest"])
    done = dev.run("prod")
    assert done.returncode == 7
    assert "read sha256:" in done.stderr


def _delete_blob(repository: Repository, digest: Digest) -> None:
    done = subprocess.run(
        [
            "curl",
            "-fsS",
            "-X",
            "DELETE",
            f"http://{repository.host}/v2/{repository.path}/blobs/{digest}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _inspect(reference: str) -> None:
    """An independent reader of images finds it whole: manifest, config and all layers."""
    name, _, digest = reference.partition("@")
    with tempfile.TemporaryDirectory() as folder:
        _copy(f"docker://{name.rpartition(':')[0]}@{digest}", f"dir:{folder}")


def _copy(*arguments: str) -> None:
    done = subprocess.run(
        ["skopeo", "copy", "--src-tls-verify=false", *_target_flag(arguments), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _target_flag(arguments: tuple[str, ...]) -> list[str]:
    return ["--dest-tls-verify=false"] if arguments[-1].startswith("docker:") else []
