"""The lock of a prod run: what it says is so, and a run with --locked changes nothing."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import urllib3

from aicore_build.package import check_package
from aicore_build.reference import Digest, Repository, TagReference, parse_reference
from aicore_build.registry import RegistryClient
from tests.integration.conftest import Project
from tests.integration.faults import FaultProxy

NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


@pytest.fixture
def made(project: Project) -> Project:
    """A project after prod; from now on without a Docker Engine."""
    project.write_flow(project.image("a:v1"))
    project.write_settings()
    project.succeed("dev", "--no-template")
    project.environment |= {"AICORE_BUILD_BUILDER": "registry", **NO_ENGINE}
    project.succeed("prod")
    return project


def lock_of(project: Project) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((project.folder / "flow.lock.json").read_text())
    return document


def repository(project: Project) -> Repository:
    return parse_reference(project.image("a:v1")).repository


def find(project: Project, tag: str) -> Digest | None:
    return RegistryClient().find(TagReference(repository=repository(project), tag=tag))


def tags(project: Project) -> dict[str, Digest | None]:
    """All tags of the repository, and what they point to."""
    where = repository(project)
    answer = urllib3.request("GET", f"http://{where.host}/v2/{where.path}/tags/list")
    return {tag: find(project, tag) for tag in answer.json()["tags"]}


def delete(project: Project, digest: str) -> None:
    where = repository(project)
    url = f"http://{where.host}/v2/{where.path}/manifests/{digest}"
    assert urllib3.request("DELETE", url).status == 202


def move(project: Project, tag: str, to: str) -> None:
    """Let a tag point to what another one points to."""
    client, where = RegistryClient(), repository(project)
    manifest = client.get_manifest(TagReference(repository=where, tag=to))
    assert manifest is not None
    client.put_manifest(TagReference(repository=where, tag=tag), manifest)


def files(project: Project) -> dict[str, tuple[int, int, bytes]]:
    found = (path for path in project.folder.rglob("*") if path.is_file())
    return {
        str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in found
    }


def refused(project: Project, *arguments: str) -> str:
    """Run the tool, which has to find a difference and to change nothing."""
    before = (tags(project), files(project))
    done = project.run(*arguments)
    assert (done.returncode, done.stdout) == (12, ""), done.stderr
    assert (tags(project), files(project)) == before
    return done.stderr.partition("Error: ")[2]


def test_what_is_locked_is_so(project: Project) -> None:
    project.write_flow(project.image("a:v1"), project.image("b:v1"))
    project.write_settings()
    result = json.loads(project.succeed("prod", "--json"))

    path = project.folder / "flow.lock.json"
    assert result["lock"] == str(path)
    lock = json.loads(path.read_text())
    assert lock["flow"] == {"name": "PlainFlow", "script": "flow.py"}
    first, second = result["images"]
    assert lock["steps"] == {"start": first["pinned"], "end": second["pinned"]}
    for image, built in zip(lock["images"], result["images"], strict=True):
        assert f"{image['reference']}@{image['digest']}" == built["pinned"]
        assert f"{image['base']['reference']}@{image['base']['digest']}" == built["base_image"]
        for locked in (image, image["base"]):
            assert RegistryClient().find(parse_reference(locked["reference"])) == locked["digest"]
    template = (project.folder / "flow.json").read_bytes()
    assert lock["workflow_template"] == {
        "file": "flow.json",
        "sha256": hashlib.sha256(template).hexdigest(),
    }
    [job_tar] = Path(project.environment["XDG_CACHE_HOME"]).rglob("job.tar")
    check_package(job_tar, "flow.py")
    content = job_tar.read_bytes()
    assert lock["code_package"] == {
        "sha1": hashlib.sha1(content).hexdigest(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_equal_inputs_lock_the_same_in_another_folder(made: Project, tmp_path: Path) -> None:
    made.succeed("prod", "--locked")
    before = (made.folder / "flow.lock.json").read_bytes()
    made.folder = Path(shutil.copytree(made.folder, tmp_path / "elsewhere"))
    (made.folder / "flow.lock.json").unlink()
    made.succeed("prod")
    assert (made.folder / "flow.lock.json").read_bytes() == before


def test_nothing_differs_and_nothing_is_written(made: Project) -> None:
    before = (tags(made), files(made))
    result = json.loads(made.succeed("prod", "--locked", "--json"))
    assert (tags(made), files(made)) == before
    assert result["images"][0]["pinned"] == lock_of(made)["steps"]["start"]
    assert not result["images"][0]["built"]
    made.succeed("prod")
    assert (tags(made), files(made)) == before


def test_changed_code_is_a_difference(made: Project) -> None:
    old = lock_of(made)
    (made.folder / "helper.py").write_text("VALUE = 1\n")
    said = refused(made, "prod", "--locked")
    assert f"code package (sha1): {old['code_package']['sha1']} → " in said
    assert f"prod image of start, end: {old['steps']['start']} → none in its registry" in said
    assert "dev image" not in said
    made.succeed("prod")
    new = lock_of(made)
    assert new["code_package"] != old["code_package"]
    made.succeed("prod", "--locked")


def test_changed_settings_are_a_difference(made: Project) -> None:
    [line] = [
        line
        for line in refused(made, "prod", "--locked", "--version", "2.0.0").splitlines()
        if "→" in line
    ]
    assert line.startswith(
        f"  workflow template (sha256): {lock_of(made)['workflow_template']['sha256']} → "
    )


def test_an_image_that_is_gone_is_a_difference(made: Project) -> None:
    [image] = lock_of(made)["images"]
    delete(made, image["digest"])
    said = refused(made, "prod", "--locked")
    assert f"prod image of start, end: {image['reference']}@{image['digest']} → none" in said
    assert "dev image" not in said
    made.succeed("prod")
    made.succeed("prod", "--locked")


def test_a_dev_image_that_is_gone_is_a_difference_and_not_built(made: Project) -> None:
    [image] = lock_of(made)["images"]
    delete(made, image["base"]["digest"])
    said = refused(made, "prod", "--locked")
    assert f"dev image of start, end: {made.image('a:v1')}@{image['base']['digest']} → none" in said


def test_another_image_at_the_tag_is_a_difference(made: Project) -> None:
    [image] = lock_of(made)["images"]
    move(made, image["reference"].rpartition(":")[2], to="v1")
    assert "prod image of start, end: " in refused(made, "prod", "--locked")


def test_a_template_that_was_edited_is_a_difference(made: Project) -> None:
    with (made.folder / "flow.json").open("a") as file:
        file.write("\n")
    assert "flow.json on disk (sha256): " in refused(made, "prod", "--locked")
    assert "is not the one that was locked" in refused(made, "check-lock")


def test_a_lock_of_the_run_before_is_noticed(made: Project) -> None:
    lock = (made.folder / "flow.lock.json").read_bytes()
    (made.folder / "helper.py").write_text("VALUE = 1\n")
    made.succeed("prod")
    (made.folder / "flow.lock.json").write_bytes(lock)  # as if stopped before it was written
    said = refused(made, "check-lock")
    assert "`prod` was stopped before it wrote the lock" in said
    assert "doesn't name the locked images" in said
    refused(made, "prod", "--locked")


def test_without_a_lock_nothing_is_locked(made: Project) -> None:
    (made.folder / "flow.lock.json").unlink()
    for command in (["prod", "--locked"], ["check-lock"]):
        assert "There is no lock" in refused(made, *command)


@pytest.mark.parametrize("builder", ["docker", "registry"])
def test_locked_only_reads(project: Project, builder: str) -> None:
    host = repository(project).host
    with FaultProxy(int(host.rpartition(":")[2])) as proxy:
        project.registry = project.registry.replace(host, proxy.address)
        project.write_flow(project.image("a:v1"))
        project.write_settings(f'builder = "{builder}"')
        project.succeed("prod")
        assert proxy.count("PUT", "/manifests/") > 0
        proxy.set()
        project.environment |= NO_ENGINE
        project.succeed("prod", "--locked")
        (project.folder / "helper.py").write_text("VALUE = 1\n")
        assert project.run("prod", "--locked").returncode == 12
        assert proxy.count("POST|PUT|PATCH|DELETE", "") == 0


@pytest.mark.parametrize("flag", ["--force", "--no-push"])
def test_locked_does_not_go_with_building(made: Project, flag: str) -> None:
    made.environment["AICORE_BUILD_BUILDER"] = "docker"
    done = made.run("prod", "--locked", flag)
    assert done.returncode == 3
    assert "--locked builds nothing" in done.stderr


def test_check_lock_finds_all_there(made: Project) -> None:
    said = made.succeed("check-lock")
    assert said.startswith(str(made.folder / "flow.lock.json"))
    document = json.loads(made.succeed("check-lock", "--json"))
    assert document["ok"]
    assert [(image["variant"], image["there"]) for image in document["images"]] == [
        ("prod", True),
        ("dev", True),
    ]
    assert {image["pinned"] for image in document["images"][:1]} == set(
        lock_of(made)["steps"].values()
    )


def test_check_lock_of_a_file_needs_no_flow_and_no_python(made: Project, tmp_path: Path) -> None:
    for name in ("flow.json", "flow.lock.json"):
        shutil.copy(made.folder / name, tmp_path)
    (made.folder / "flow.py").unlink()
    path = str(tmp_path / "flow.lock.json")
    made.succeed("check-lock", path, "--python", "/nowhere/python")
    (tmp_path / "flow.json").unlink()
    assert f"{tmp_path / 'flow.json'} is not there" in refused(made, "check-lock", path)


def test_check_lock_names_all_that_is_missing(made: Project) -> None:
    [image] = lock_of(made)["images"]
    delete(made, image["digest"])
    delete(made, image["base"]["digest"])
    done = made.run("check-lock", "--json")
    assert done.returncode == 12
    document = json.loads(done.stdout)
    assert (document["ok"], len(document["problems"])) == (False, 2)
    assert [found["there"] for found in document["images"]] == [False, False]
    for problem in document["problems"]:
        assert problem in done.stderr


def test_check_lock_warns_of_a_tag_that_moved_on(made: Project) -> None:
    [image] = lock_of(made)["images"]
    tag = image["reference"].rpartition(":")[2]
    move(made, tag, to="v1")
    done = made.run("check-lock", "--json")
    assert done.returncode == 0
    assert f"Warning: {image['reference']} points to {image['base']['digest']} now" in done.stderr
    document = json.loads(done.stdout)
    assert document["images"][0]["tag_digest"] == image["base"]["digest"]
    assert document["ok"]


def test_check_lock_without_an_answer_is_no_result(made: Project) -> None:
    path = made.folder / "flow.lock.json"
    host = repository(made).host
    path.write_text(path.read_text().replace(host, "localhost:9"))
    done = made.run("check-lock", "--json")
    assert (done.returncode, done.stdout) == (7, "")
