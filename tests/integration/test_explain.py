"""`plan --explain` says what `dev` and `prod` then do, and names what changed."""

import json
from typing import Any

import pytest
import urllib3

from tests.integration.conftest import QUICK_DOCKERFILE, Project

NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


def explain(project: Project) -> dict[str, Any]:
    [image] = json.loads(project.succeed("plan", "--explain", "--json"))["images"]
    found: dict[str, Any] = image["explained"]
    return found


def named(changes: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(change["input"], change["name"]) for change in changes]


def dev_changes(project: Project) -> list[tuple[str, str | None]]:
    """What changed, by `plan`, after seeing that `dev` builds if and only if `plan` says so."""
    found = explain(project)["dev"]
    [image] = json.loads(project.succeed("dev", "--no-template", "--json"))["images"]
    assert image["built"] == (found["action"] == "build") == bool(found["changes"])
    return named(found["changes"])


def prod_changes(project: Project) -> list[tuple[str, str | None]]:
    """The same for `prod`, which has to push where `plan` says."""
    found = explain(project)["prod"]
    [image] = json.loads(project.succeed("prod", "--json"))["images"]
    assert image["built"] == (found["action"] == "embed") == bool(found["changes"])
    assert image["reference"] == found["reference"]
    return named(found["changes"])


def write_dockerfile(project: Project, name: str, text: str) -> None:
    """In a folder of its own, so that what `prod` writes is not in the build context."""
    (project.folder / name).mkdir(exist_ok=True)
    (project.folder / name / "Dockerfile").write_text(text)
    images = f'[images."*"]\ndockerfile = "{name}/Dockerfile"\n'
    project.write_settings(images, quick=False)


def push_base(project: Project, name: str, more: str) -> None:
    """Push an image to build others from, with the tool itself."""
    project.write_flow(name)
    write_dockerfile(project, "base", QUICK_DOCKERFILE + more)
    project.succeed("dev", "--no-template")


def test_what_plan_says_is_what_is_done(project: Project) -> None:
    base = project.image("base:v1")
    push_base(project, base, "")
    text = QUICK_DOCKERFILE.replace("python:3.11-slim", base)
    project.write_flow(project.image("a:v1"))
    write_dockerfile(project, "image", text)

    assert dev_changes(project) == [("image", None)]
    assert explain(project)["prod"]["compared_with"] is None
    assert prod_changes(project) == [("image", None)]
    assert dev_changes(project) == []
    assert prod_changes(project) == []

    text += "RUN touch /here\n"
    write_dockerfile(project, "image", text)
    assert dev_changes(project) == [("Dockerfile", None)]
    assert prod_changes(project) == [("dev image", None)]

    (project.folder / "image" / "data.txt").write_text("in the build context, not in the code")
    assert dev_changes(project) == [("build context", None)]
    assert prod_changes(project) == [("dev image", None)]

    (project.folder / "helper.py").write_text("VALUE = 1\n")
    before = json.loads((project.folder / "flow.lock.json").read_text())["steps"]["start"]
    assert explain(project)["prod"]["compared_with"] == before
    assert dev_changes(project) == []
    assert prod_changes(project) == [("code package", None), ("file", "helper.py")]

    project.environment["AICORE_BUILD_BUILDER"] = "registry"
    assert prod_changes(project) == [("builder", None)]
    (project.folder / "helper.py").write_text("VALUE = 2\n")
    assert prod_changes(project) == [("code package", None), ("file", "helper.py")]

    push_base(project, base, "RUN touch /newer\n")
    project.write_flow(project.image("a:v1"))
    write_dockerfile(project, "image", text)
    assert dev_changes(project) == [("base image", base)]

    project.environment |= NO_ENGINE  # then the registry tells what the base image is
    found = explain(project)
    assert found["dev"] == {"action": "up to date", "changes": []}
    assert named(found["prod"]["changes"]) == [("dev image", None)]
    assert "prod embeds" in project.succeed("plan", "--explain")
    assert prod_changes(project) == [("dev image", None)]


def test_libraries_and_packages_are_named(project: Project) -> None:
    project.write_flow(project.image("a:v1"))
    project.write_settings('requirements = ["colorama==0.4.6"]', quick=False)
    assert dev_changes(project) == [("image", None)]
    project.write_settings('requirements = ["colorama>=0.4.4", "iniconfig"]', quick=False)
    assert dev_changes(project) == [("library", "colorama"), ("library", "iniconfig")]
    project.write_settings('apt-packages = ["jq"]\nplatform = "linux/arm64"', quick=False)
    assert named(explain(project)["dev"]["changes"]) == [
        ("platform", None),
        ("library", "colorama"),
        ("library", "iniconfig"),
        ("apt package", "jq"),
    ]


@pytest.mark.parametrize("flags", [(), ("--explain",)], ids=["plan", "plan --explain"])
def test_only_explaining_needs_the_registry(project: Project, flags: tuple[str, ...]) -> None:
    project.write_flow("localhost:9/nobody/a:v1")
    project.write_settings()
    done = project.run("plan", *flags)
    assert done.returncode == (7 if flags else 0)
    assert bool(done.stdout) == (not flags)


def test_a_prod_image_that_is_gone_is_told_from_one_that_never_was(project: Project) -> None:
    project.write_flow(project.image("a:v1"))
    project.write_settings()
    [image] = json.loads(project.succeed("prod", "--json"))["images"]
    host, _, path = project.image("a").partition("/")
    url = f"http://{host}/v2/{path}/manifests/{image['digest']}"
    assert urllib3.request("DELETE", url).status == 202

    [change] = explain(project)["prod"]["changes"]
    assert change["note"].endswith(f"no longer the one before, {image['pinned']}")
    (project.folder / "flow.lock.json").unlink()
    [change] = explain(project)["prod"]["changes"]
    assert change["note"].endswith("no lock tells which was pushed last")
    (project.folder / "flow.lock.json").write_text("[]")
    assert project.run("plan", "--explain").returncode == 12
