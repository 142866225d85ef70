"""How `verify` ends where S3, memory, time, or the person who started it ends it."""

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from aicore_build.workflow import Json
from tests.integration.conftest import make_project
from tests.integration.prod import Prod, Verified
from tests.integration.servers import s3_that_checks_credentials
from tests.sandbox import Sandbox
from tests.unit.workflows import a_dag, a_step, a_task

SECRET = "default-object-store-secret"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "planted-id", "AWS_SECRET_ACCESS_KEY": "planted-secret"}

AT_ONCE = {
    "METAFLOW_S3_RETRY_COUNT": "0",
    "AWS_MAX_ATTEMPTS": "1",
    "AWS_DEFAULT_REGION": "us-east-1",
}
"""Metaflow tries again for minutes, and so does boto3."""

SMALLEST = {"labels": {"ai.sap.com/resourcePlan": "starter"}}


@pytest.fixture(scope="module")
def prod(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Prod:
    """Made once: nothing here changes it."""
    return Prod.make(make_project(sandbox, tmp_path_factory.mktemp("prod")))


def with_store(prod: Prod, folder: Path, secret: Mapping[str, str], document: Json) -> Verified:
    """Verify with this in the object store's secret."""
    for template in document["spec"]["templates"]:
        if "container" in template:
            given = [{"name": name, "value": value} for name, value in AT_ONCE.items()]
            template["container"]["env"] += given
    file = folder / "secret.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in secret.items()))
    return prod.verify(folder, document, "--secret", f"{SECRET}={file}")


def check_store_failure(verified: Verified, cause: str, fix: str) -> None:
    """It ended in time, at the first step, and for this reason."""
    assert verified.exit_code == 14, verified.stderr
    failure = verified.report["failure"]
    assert cause in failure["cause"]
    assert fix in failure["fix"]
    assert failure["subject"] == "start"
    assert [run["outcome"] for run in verified.report["runs"]] == ["failed"]
    assert "planted" not in verified.stdout + verified.stderr
    assert verified.seconds < 60


def test_wrong_credentials(prod: Prod, tmp_path: Path) -> None:
    with s3_that_checks_credentials() as address:
        secret = {**CREDENTIALS, "METAFLOW_S3_ENDPOINT_URL": address}
        verified = with_store(prod, tmp_path, secret, prod.document)
    check_store_failure(verified, "refuses the step's credentials (InvalidAccessKeyId)", "Check")


def test_no_credentials(prod: Prod, sandbox: Sandbox, tmp_path: Path) -> None:
    secret = {"METAFLOW_S3_ENDPOINT_URL": sandbox.s3_endpoint}
    verified = with_store(prod, tmp_path, secret, prod.document)
    check_store_failure(verified, "no credentials for S3", "--secret NAME=FILE")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("python -c \"bytearray(b'x') * 4_000_000_000\"", id="the step itself"),
        pytest.param("tail /dev/zero; exit 1", id="a process of its"),
    ],
)
def test_more_memory_than_the_resource_plan_gives(prod: Prod, tmp_path: Path, script: str) -> None:
    document = prod.small(a_step("work", "-c", script, metadata=SMALLEST), image=prod.image)
    verified = prod.verify(tmp_path, document)
    assert verified.exit_code == 14, verified.stderr
    assert verified.cause == "It needed more memory than the resource plan starter gives."
    assert "steps.<step>.resource-plan" in verified.report["failure"]["fix"]


@pytest.mark.parametrize(
    ("of_step", "of_workflow", "cause", "fix"),
    [
        pytest.param(
            1, 60, "It did not end within 1 s", "more time with @timeout at the step", id="step"
        ),
        pytest.param(
            60,
            1,
            "The workflow did not end within 1 s",
            "spec.activeDeadlineSeconds",
            id="workflow",
        ),
    ],
)
def test_a_deadline_is_named_whose_it_was(
    prod: Prod, tmp_path: Path, of_step: int, of_workflow: int, cause: str, fix: str
) -> None:
    step = a_step("work", "-c", "sleep 60", activeDeadlineSeconds=of_step)
    document = prod.small(step, image=prod.image, activeDeadlineSeconds=of_workflow)
    verified = prod.verify(tmp_path, document)
    assert verified.exit_code == 14, verified.stderr
    assert cause in verified.cause
    assert fix in verified.report["failure"]["fix"]
    assert verified.seconds < 20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("TOKEN planted\n", "Line 1 of {} is not NAME=value", id="no equals sign"),
        pytest.param("# what\n\n1=planted\n", "Line 3 of {} is not NAME=value", id="no name"),
        pytest.param("OTHER=planted\n", "secret api has no key token", id="not that key"),
    ],
)
def test_a_secret_that_can_not_be_used(prod: Prod, tmp_path: Path, content: str, said: str) -> None:
    source = {"secretKeyRef": {"name": "api", "key": "token"}}
    step = a_step("work", "-c", "true", env=[{"name": "TOKEN", "valueFrom": source}])
    file = tmp_path / "api.env"
    file.write_text(content)
    document = prod.small(step, image=prod.image)
    verified = prod.verify(tmp_path, document, "--secret", f"api={file}")
    assert verified.exit_code == 14
    assert said.format(file) in verified.stderr
    assert "planted" not in verified.stdout + verified.stderr


def test_what_runs_beside_a_failure_is_ended_and_removed(prod: Prod, tmp_path: Path) -> None:
    document = prod.small(
        a_dag("entry", a_task("a", "bad"), a_task("b", "slow"), a_task("c", "last", "a")),
        a_step("bad", "-c", "sleep 2; exit 3"),
        a_step("slow", "-c", "sleep 60"),
        a_step("last", "-c", "true"),
        image=prod.image,
    )
    process = start(prod, tmp_path, document)
    with contextlib.closing(prod.engine()) as engine:
        volumes = volumes_of(wait_for_containers(prod.image, engine, 2))
        out, said = process.communicate(timeout=60)
        assert process.returncode == 14, said
        runs = {run["name"]: (run["outcome"], run["exit_code"]) for run in json.loads(out)["runs"]}
        assert runs == {"bad": ("failed", 3), "slow": ("stopped", None)}
        assert volumes
        assert not volumes & volumes_in(engine)
        assert not containers_of(prod.image, engine)


def test_two_runs_of_a_flow_at_once(prod: Prod, tmp_path: Path) -> None:
    runs = [start(prod, tmp_path, prod.document) for _ in range(2)]
    answers = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], answers
    for out, _ in answers:
        found = [(run["name"], run["output"]) for run in json.loads(out)["runs"]]
        assert found == [("start", ""), ("end", "the end")]
    with contextlib.closing(prod.engine()) as engine:
        assert not containers_of(prod.image, engine)


def start(prod: Prod, folder: Path, document: Json, *options: str) -> "subprocess.Popen[str]":
    """Begin to verify a workflow template."""
    path = folder / "flow.json"
    path.write_text(json.dumps(document))
    return subprocess.Popen(
        prod.project.command("verify", str(path), "--json", *options),
        cwd=prod.project.folder,
        env=prod.project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )


def containers_of(image: str, engine: docker.DockerClient) -> list[Container]:
    """What verify made of an image that is this file's own: others use the engine, too."""
    own = engine.images.get(image).id
    found = engine.containers.list(
        all=True, filters={"label": "aicore-build.verify"}, ignore_removed=True
    )
    return [container for container in found if container.attrs["Image"] == own]


def wait_for_containers(image: str, engine: docker.DockerClient, count: int) -> list[Container]:
    """As many as that, when all of them run."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        with contextlib.suppress(docker.errors.ImageNotFound):
            found = containers_of(image, engine)
            if [container.status for container in found] == ["running"] * count:
                return found
        time.sleep(0.05)
    pytest.fail(f"{count} containers of {image} never ran at the same time")


def volumes_of(containers: list[Container]) -> set[str]:
    """The names of what is mounted in them."""
    return {mount["Name"] for container in containers for mount in container.attrs["Mounts"]}


def volumes_in(engine: docker.DockerClient) -> set[str]:
    """The names of all that there are."""
    return {str(volume.name) for volume in engine.volumes.list()}
