"""What the images are made of, seen in the engine and the registry."""

import json

import docker
import pytest

from tests.integration.conftest import Project


def test_references_with_one_environment_are_built_once_and_tagged_twice(project: Project) -> None:
    project.write_flow(project.image("a:v1"), project.image("b:v1"))
    project.write_settings()

    result = json.loads(project.succeed("dev", "--no-template", "--json"))

    first, second = result["images"]
    assert first["image_id"] == second["image_id"]
    assert first["digest"] == second["digest"]
    assert [first["reference"], second["reference"]] == [
        project.image("a:v1"),
        project.image("b:v1"),
    ]


def test_prod_image_holds_the_package_and_is_used_by_anybody(
    project: Project, engine: docker.DockerClient
) -> None:
    project.write_flow(project.image("a:v1"))
    (project.folder / "secretive.py").write_text("VALUE = 1\n")
    (project.folder / "secretive.py").chmod(0o600)
    project.write_settings()

    result = json.loads(project.succeed("prod", "--json"))
    [image] = result["images"]
    output = engine.containers.run(
        image["pinned"],
        ["bash", "-c", "pwd; echo $HOME; cat secretive.py; touch .metaflow/a b; ls /user/home"],
        user="65534:65534",
        cap_drop=["ALL"],
        remove=True,
    ).decode()

    home, home_too, source, *files = output.splitlines()
    assert (home, home_too, source) == ("/user/home", "/user/home", "VALUE = 1")
    assert {"flow.py", "metaflow", "b"} <= set(files)
    assert result["code_package"]["sha1"][:12] == image["reference"].rpartition("-prod-")[2]


def test_the_user_of_a_base_image_is_kept(project: Project, engine: docker.DockerClient) -> None:
    base = project.image("base:v1")
    with_user = "FROM python:3.11-slim\nRUN useradd -m ada\nUSER ada\n"
    (project.folder / "Base.Dockerfile").write_text(with_user)
    project.write_flow(base)
    project.write_settings('[images."*"]\ndockerfile = "Base.Dockerfile"', quick=False)
    project.succeed("dev", "--no-template")

    project.write_flow(project.image("a:v1"))
    project.write_settings(f'base-image = "{base}"', quick=False)
    [image] = json.loads(project.succeed("prod", "--json"))["images"]

    for name in (project.image("a:v1"), image["reference"]):
        config = engine.images.get(name).attrs["Config"]
        assert config["User"] == "ada"
    writes = "touch /home/user/x && aws --version && python -c 'import boto3, requests'"
    said = engine.containers.run(
        project.image("a:v1"), ["bash", "-c", writes], user="65534:65534", remove=True
    )
    assert b"aws-cli" in said


def test_an_image_of_another_registry_is_used_as_it_is_and_embedded_under_ours(
    project: Project,
) -> None:
    project.write_flow(project.image("theirs/tools:v1"))
    project.write_settings()
    project.succeed("dev", "--no-template")
    project.write_settings(f'registry = "{project.image("ours")}"')

    [used] = json.loads(project.succeed("dev", "--json"))["images"]
    [embedded] = json.loads(project.succeed("prod", "--json"))["images"]

    assert not used["built"]
    assert embedded["base_image"] == used["pinned"]
    assert embedded["reference"].startswith(project.image("ours/"))


def test_an_image_by_digest_is_embedded_in_its_repository(project: Project) -> None:
    project.write_flow(project.image("a:v1"))
    project.write_settings()
    [dev] = json.loads(project.succeed("dev", "--no-template", "--json"))["images"]
    project.write_flow(f"{project.image('a')}@{dev['digest']}")

    result = json.loads(project.succeed("prod", "--json"))

    [image] = result["images"]
    assert image["reference"] == f"{project.image('a')}:prod-{result['code_package']['sha1'][:12]}"
    template = json.loads((project.folder / "flow.json").read_text())
    images = {t["container"]["image"] for t in template["spec"]["templates"] if "container" in t}
    assert images == {image["pinned"]}


def test_own_dockerfile_is_built_with_its_folder_less_what_is_ignored(
    project: Project, engine: docker.DockerClient
) -> None:
    folder = project.folder / "images" / "train"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM python:3.11-slim\nCOPY . /data\n")
    (folder / ".dockerignore").write_text("# not these\n*.secret\n")
    (folder / "model.txt").write_text("model")
    (folder / "key.secret").write_text("key")
    project.write_flow(project.image("own:v1"))
    project.write_settings(
        '[images."*/own:*"]\ndockerfile = "images/train/Dockerfile"', quick=False
    )

    project.succeed("dev", "--no-template", "--no-push")

    listing = engine.containers.run(project.image("own:v1"), ["ls", "/data"], remove=True)
    assert listing.decode().split() == ["Dockerfile", "model.txt"]


@pytest.mark.parametrize("command", ["dev", "prod"])
def test_no_push_leaves_registry_and_files_alone(
    project: Project, engine: docker.DockerClient, command: str
) -> None:
    project.write_flow(project.image("a:v1"))
    project.write_settings()

    result = json.loads(project.succeed(command, "--no-push", "--json"))

    [image] = result["images"]
    assert (image["digest"], result["workflow_template"]) == (None, None)
    assert engine.images.get(image["reference"]).id == image["image_id"]
    assert not list(project.folder.glob("*.json"))
    with pytest.raises(docker.errors.NotFound):
        engine.api.inspect_distribution(project.image("a:v1"))
