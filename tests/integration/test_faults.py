"""Bad input and faults: the message says what to do, the exit code is of its class."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import boto3
import docker
import pytest

from tests.integration.conftest import Project
from tests.integration.servers import (
    free_port,
    registry_with_password,
    s3_that_checks_credentials,
)


def fails(project: Project, code: int, *arguments: str, **environment: str) -> str:
    """Run the tool; it must fail with this code, without a traceback and without output."""
    done = project.run(*arguments, environment=environment)
    assert done.returncode == code, done.stderr
    assert "aicore_build/" not in done.stderr, "a traceback of ours"
    assert done.stdout == ""
    assert not [path.name for path in project.folder.glob("*.json")], "something half-written"
    return done.stderr


@pytest.fixture
def quick(project: Project) -> Project:
    project.write_flow(project.image("a:v1"))
    project.write_settings()
    return project


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:9"])
def test_engine_not_reachable(quick: Project, host: str) -> None:
    said = fails(quick, 5, "prod", DOCKER_HOST=host)
    assert f"can't be reached at {host}" in said
    assert "DOCKER_HOST" in said


def test_flow_that_does_not_import_shows_the_users_frames(quick: Project) -> None:
    (quick.folder / "helper.py").write_text(
        "def load():\n    raise LookupError('nothing like it')\n\nload()\n"
    )
    quick.write_flow(quick.image("a:v1"), extra="import helper")
    said = fails(quick, 4, "plan")
    assert "helper.py" in said
    assert "flow.py" in said
    assert "LookupError: nothing like it" in said


def test_flow_that_metaflow_refuses(quick: Project) -> None:
    script = quick.write_flow(quick.image("a:v1"))
    script.write_text(script.read_text().replace("self.next(self.end)", "self.next(self.done)"))
    assert "unknown step" in fails(quick, 4, "plan")


def test_script_that_never_starts_its_flow(quick: Project) -> None:
    script = quick.write_flow(quick.image("a:v1"))
    script.write_text(script.read_text().replace("    PlainFlow()", "    pass"))
    assert '__name__ == "__main__"' in fails(quick, 4, "plan")


def test_base_image_that_is_not_there(project: Project) -> None:
    project.write_flow(project.image("a:v1"))
    project.write_settings(f'base-image = "{project.image("base:none")}"', quick=False)
    said = fails(project, 6, "dev")
    assert f"{project.image('base:none')} can't be had" in said


def test_pip_that_fails_shows_the_end_of_the_build(project: Project) -> None:
    project.write_flow(project.image("a:v1"))
    project.write_settings('requirements = ["no-such-library-at-all==1"]', quick=False)
    said = fails(project, 6, "dev")
    assert "No matching distribution found for no-such-library-at-all==1" in said
    assert "setting requirements" in said


def test_dockerfile_of_ones_own_with_an_error(quick: Project) -> None:
    (quick.folder / "Quick.Dockerfile").write_text("FROM python:3.11-slim\nRUNN true\n")
    assert "unknown instruction: RUNN" in fails(quick, 6, "dev")


def test_registry_that_is_down(project: Project) -> None:
    host = f"localhost:{free_port()}"
    project.write_flow(f"{host}/a:v1")
    project.write_settings()
    assert "Connection refused" in fails(project, 7, "dev")
    assert "Connection refused" in fails(project, 7, "prod")


def test_push_denied_and_allowed(project: Project, tmp_path: Path) -> None:
    with registry_with_password(tmp_path, "ada", "right") as host:
        project.write_flow(f"{host}/a:v1")
        project.write_settings()
        said = fails(project, 7, "dev", "--no-template")
        assert f"docker login {host}" in said

        _log_in(project, host, "wrong")
        assert f"docker login {host}" in fails(project, 7, "prod")

        _log_in(project, host, "right")
        [image] = json.loads(project.succeed("prod", "--json"))["images"]
        assert image["digest"].startswith("sha256:")


def _log_in(project: Project, host: str, password: str) -> None:
    """What `docker login` writes; and a helper for another registry, which nobody may call."""
    auth = "YWRhOnJpZ2h0" if password == "right" else "YWRhOndyb25n"
    config = {"auths": {host: {"auth": auth}}, "credHelpers": {"elsewhere.example": "not-there"}}
    path = Path(project.environment["DOCKER_CONFIG"]) / "config.json"
    path.write_text(json.dumps(config))


def test_bucket_that_is_missing(quick: Project) -> None:
    root = "s3://no-such-bucket-here/metaflow"
    said = fails(quick, 9, "prod", METAFLOW_DATASTORE_SYSROOT_S3=root)
    assert "bucket no-such-bucket-here: it does not exist" in said


def test_s3_that_denies(quick: Project) -> None:
    with s3_that_checks_credentials() as endpoint:
        said = fails(
            quick, 9, "prod", METAFLOW_S3_ENDPOINT_URL=endpoint, AWS_ENDPOINT_URL_S3=endpoint
        )
    assert "access is denied" in said


def test_s3_that_is_down(quick: Project) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    said = fails(quick, 9, "prod", METAFLOW_S3_ENDPOINT_URL=endpoint, AWS_ENDPOINT_URL_S3=endpoint)
    assert "METAFLOW_S3_ENDPOINT_URL" in said


def test_s3_that_is_not_configured(quick: Project) -> None:
    del quick.environment["METAFLOW_DATASTORE_SYSROOT_S3"]
    assert "METAFLOW_DATASTORE_SYSROOT_S3" in fails(quick, 9, "prod")
    done = quick.run("dev")
    assert done.returncode == 0
    assert "no workflow template" in done.stderr


def test_package_that_was_changed_in_s3(quick: Project, tmp_path: Path) -> None:
    address = json.loads(quick.succeed("prod", "--json"))["code_package"]["address"]
    for written in quick.folder.glob("*.json"):
        written.unlink()
    bucket, _, key = address.removeprefix("s3://").partition("/")
    store = boto3.client(
        "s3",
        endpoint_url=quick.environment["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    store.put_object(Bucket=bucket, Key=key, Body=b"something else")
    said = fails(quick, 10, "prod", XDG_CACHE_HOME=str(tmp_path / "another-cache"))
    assert f"{address} is damaged" in said


def test_generator_that_hangs_is_ended(quick: Project) -> None:
    sleeps = 'import sys, time\nif "argo" in sys.argv: time.sleep(0.2 + 600.25)'
    quick.write_flow(quick.image("a:v1"), extra=sleeps)
    said = fails(quick, 8, "prod", "--generator-timeout", "3")
    assert "did not end within 3 s" in said
    listing = subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True)
    assert not re.search(r"flow\.py.* argo create", listing.stdout)


def test_generator_that_dies_says_why(quick: Project) -> None:
    dies = 'import sys\nif "argo" in sys.argv: raise RuntimeError("not today")'
    quick.write_flow(quick.image("a:v1"), extra=dies)
    said = fails(quick, 8, "prod")
    assert "RuntimeError: not today" in said


def test_what_a_flow_prints_is_not_taken_for_the_workflow_template(quick: Project) -> None:
    quick.write_flow(quick.image("a:v1"), extra='print("{ \\"apiVersion\\": 1 }", end="")')
    quick.succeed("prod")
    template = json.loads((quick.folder / "flow.json").read_text())
    assert template["kind"] == "WorkflowTemplate"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "terminate"]
)
def test_stopped_in_a_build(
    quick: Project, engine: docker.DockerClient, number: signal.Signals, code: int
) -> None:
    mark = f"sleep 61.{time.time_ns()}"
    (quick.folder / "Quick.Dockerfile").write_text(f"FROM python:3.11-slim\nRUN {mark}\n")

    def containers() -> list[str]:
        found = engine.api.containers(filters={"status": "running"})
        return [container["Id"] for container in found if mark in container["Command"]]

    process = subprocess.Popen(
        quick.command("dev"),
        cwd=quick.folder,
        env={**os.environ, **quick.environment},
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background of a shell, Ctrl-C would be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    _wait_for(lambda: bool(containers()))
    process.send_signal(number)
    _, said = process.communicate(timeout=10)
    assert process.returncode == code, said
    _wait_for(lambda: not containers())


def _wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("waited for 30 s")
