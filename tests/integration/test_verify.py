"""`verify` names the right cause for broken images and templates, and leaves nothing behind."""

import contextlib
import json
import signal
import subprocess
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from aicore_build.workflow import Json
from tests.integration.conftest import make_project
from tests.integration.prod import Prod
from tests.integration.servers import free_port
from tests.sandbox import Sandbox
from tests.unit.workflows import a_dag, a_step, a_task

NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
NO_BUCKET = "aicore-build-no-such-bucket"
OBJECT_STORE = {"secretRef": {"name": "default-object-store-secret"}}


@pytest.fixture(scope="module")
def prod(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Prod:
    """Made once: nothing here changes it."""
    return Prod.make(make_project(sandbox, tmp_path_factory.mktemp("prod")))


def test_a_good_image_passes(prod: Prod, tmp_path: Path) -> None:
    verified = prod.verify(tmp_path, prod.document, "--quick", lock=prod.lock())
    assert verified.exit_code == 0, verified.stderr
    [image] = verified.report["images"]
    assert {check["name"] for check in image["checks"]} == {
        "platform",
        "python",
        "bash",
        "boto3",
        "requests",
        "writable-workdir",
        "writable-home",
        "package",
        "recorded-package",
        "flow",
        "commands",
    }
    assert verified.report["runs"] == []


@pytest.mark.parametrize(
    ("instructions", "problems", "named", "fix"),
    [
        pytest.param(
            "RUN chmod 755 /user/home",
            {"writable-workdir", "writable-home"},
            "can't write to /user/home, the image's WORKDIR: Permission denied",
            "mkdir -m 777",
            id="WORKDIR not writable",
        ),
        pytest.param(
            # Debian's Python, of the sandbox, has one of its own below that of pip.
            "RUN while found=$(python -c 'import requests; print(*requests.__path__)'); do "
            "rm -r $found; done",
            {"requests"},
            "requests can't be imported: ModuleNotFoundError",
            "Install it in the image",
            id="no requests",
        ),
        pytest.param("RUN rm /bin/bash", {"bash"}, "There is no bash", "Install it", id="no bash"),
        pytest.param(
            "RUN rm -f $(which -a python)",
            {"python"},
            "The image has no program python",
            "`python` is in its PATH",
            id="no python",
        ),
        pytest.param(
            "RUN echo '# changed' >> /user/home/flow.py",
            {"package"},
            "flow.py has other content",
            "prod --force",
            id="changed code",
        ),
    ],
)
def test_a_broken_image_is_named_by_its_cause(
    prod: Prod, tmp_path: Path, instructions: str, problems: set[str], named: str, fix: str
) -> None:
    image = prod.derive("broken:v1", instructions)
    document = prod.small(a_step("work", "-c", "true"), image=image)
    verified = prod.verify(tmp_path, document, "--quick", lock=prod.lock())
    assert verified.exit_code == 14, verified.stderr
    assert set(verified.problems) == set(verified.fixes) == problems
    first = next(iter(verified.problems))
    assert named in verified.problems[first]
    assert fix in verified.fixes[first]


def test_another_code_package_than_the_lock_names(prod: Prod, tmp_path: Path) -> None:
    lock = prod.lock()
    lock["code_package"]["sha1"] = "0" * 40
    document = prod.small(a_step("work", "-c", "true"), image=prod.image)
    verified = prod.verify(tmp_path, document, "--quick", lock=lock)
    assert verified.exit_code == 14, verified.stderr
    assert set(verified.problems) == {"recorded-package"}
    assert "was to have 0000" in verified.problems["recorded-package"]


def test_another_code_package_than_the_tag_names(prod: Prod, tmp_path: Path) -> None:
    image = prod.copy("a:v1-prod-000000000000")
    verified = prod.verify(
        tmp_path, prod.small(a_step("work", "-c", "true"), image=image), "--quick"
    )
    assert verified.exit_code == 14, verified.stderr
    assert set(verified.problems) == {"recorded-package"}
    assert "was to have 000000000000" in verified.problems["recorded-package"]


def test_an_image_for_another_processor(prod: Prod, tmp_path: Path) -> None:
    image = prod.copy("a:arm", architecture="arm64")
    verified = prod.verify(tmp_path, prod.with_image(image), "--quick")
    assert verified.exit_code == 14, verified.stderr
    assert set(verified.problems) == {"platform"}
    assert "linux/arm64" in verified.problems["platform"]
    assert "the setting platform" in verified.fixes["platform"]


def test_an_image_that_is_not_in_the_registry(prod: Prod, tmp_path: Path) -> None:
    image = f"{prod.image.partition('@')[0]}@sha256:{'0' * 64}"
    verified = prod.verify(tmp_path, prod.with_image(image), "--quick")
    assert verified.exit_code == 14
    assert f"The image {image} is not in its registry" in verified.stderr


@pytest.mark.parametrize(
    ("script", "cause", "fix"),
    [
        pytest.param(
            "python -c 'import nosuchmodule'",
            "The image lacks the module nosuchmodule",
            "requirements",
            id="no module",
        ),
        pytest.param(
            "nosuchprogram", "The image has no program nosuchprogram", "apt-packages", id="program"
        ),
        pytest.param(
            "cat /etc/shadow",
            "User 65534, as whom AI Core runs every container, may not use /etc/shadow",
            "mode 777",
            id="no permission",
        ),
        pytest.param(
            "touch /file",
            "The step writes to /file, which the image does not declare writable",
            "--writable-root",
            id="root is read-only",
        ),
        pytest.param(
            f"python -c \"import boto3; boto3.client('s3').list_objects_v2(Bucket='{NO_BUCKET}')\"",
            "The S3 bucket does not exist (NoSuchBucket)",
            "Create it",
            id="no bucket",
        ),
        pytest.param("echo; exit 7", "It exited with 7", "--logs DIR", id="exit code"),
        pytest.param("sleep 60", "It did not end within 2 s", "@timeout", id="deadline"),
    ],
)
def test_a_failing_step_is_explained(
    prod: Prod, tmp_path: Path, script: str, cause: str, fix: str
) -> None:
    document = prod.small(
        a_step("work", "-c", script, envFrom=[OBJECT_STORE], activeDeadlineSeconds=2)
        if "sleep" in script
        else a_step("work", "-c", script, envFrom=[OBJECT_STORE])
    )
    verified = prod.verify(tmp_path, document)
    assert verified.exit_code == 14, verified.stderr
    assert not verified.problems
    assert cause in verified.cause
    assert fix in verified.report["failure"]["fix"]
    assert verified.report["failure"]["subject"] == "work"
    assert verified.seconds < 30


def test_a_store_that_refuses_connections(prod: Prod, tmp_path: Path) -> None:
    """With Metaflow's own steps: they would try again for more than five minutes."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    verified = prod.verify(
        tmp_path, prod.document, environment={"METAFLOW_S3_ENDPOINT_URL": endpoint}
    )
    assert verified.exit_code == 14, verified.stderr
    assert verified.cause == f"S3 can't be reached at {endpoint}."
    assert verified.report["failure"]["tail"] == ["[Errno 111] Connection refused"]
    assert verified.report["failure"]["subject"] == "start"
    assert verified.report["runs"] == []
    assert verified.seconds < 60


def test_metaflows_bucket_is_missing(prod: Prod, tmp_path: Path) -> None:
    root = prod.project.environment["METAFLOW_DATASTORE_SYSROOT_S3"]
    document = json.loads(json.dumps(prod.document).replace(root, f"s3://{NO_BUCKET}/metaflow"))
    assert NO_BUCKET in json.dumps(document)
    verified = prod.verify(tmp_path, document)
    assert verified.exit_code == 14, verified.stderr
    assert verified.cause == "The S3 bucket of Metaflow's datastore does not exist."
    assert "METAFLOW_DATASTORE_SYSROOT_S3" in verified.report["failure"]["fix"]
    assert verified.seconds < 60


def test_what_everybody_may_write_in_the_image(prod: Prod, tmp_path: Path) -> None:
    image = prod.derive("open:v1", "RUN mkdir -m 777 /data", prod.dev_image)
    document = prod.small(a_step("work", "-c", "echo x > /data/file"), image=image)
    refused = prod.verify(tmp_path, document)
    assert refused.exit_code == 14
    assert "The step writes to /data/file, which the image does not declare" in refused.cause
    passed = prod.verify(tmp_path, document, "--writable-root")
    assert passed.exit_code == 0, passed.stdout


def test_a_step_that_nobody_defined(prod: Prod, tmp_path: Path) -> None:
    document = prod.small(a_dag("entry", a_task("a", "nowhere")), a_step("work", "-c", "true"))
    verified = prod.verify(tmp_path, document, environment=NO_ENGINE)
    assert verified.exit_code == 14, verified.stderr
    errors = [found for found in verified.report["findings"] if found["severity"] == "error"]
    assert "nowhere" in errors[0]["message"]
    assert verified.report["runs"] == verified.report["images"] == []


def test_commands_that_fetch_the_code_though_it_is_in_the_image(prod: Prod, tmp_path: Path) -> None:
    prod.project.succeed("dev")
    dev = (prod.project.folder / "flow-dev.json").read_text()
    document = json.loads(dev.replace(prod.dev_image, prod.image))
    assert prod.image in json.dumps(document)
    verified = prod.verify(tmp_path, document, "--quick")
    assert verified.exit_code == 14, verified.stderr
    assert set(verified.problems) == {"commands"}
    assert "start, end download it or run pip" in verified.problems["commands"]


def test_no_command_fetches_the_code_though_it_is_not_in_the_image(
    prod: Prod, tmp_path: Path
) -> None:
    verified = prod.verify(tmp_path, prod.with_image(prod.dev_image), "--quick")
    assert verified.exit_code == 14, verified.stderr
    assert set(verified.problems) == {"commands"}
    assert "has no code in it, and start, end fetch none" in verified.problems["commands"]


def test_retries_items_and_outputs(prod: Prod, tmp_path: Path) -> None:
    document = prod.small(
        a_dag(
            "entry",
            a_task("split", "split"),
            a_task(
                "work",
                "work",
                "split",
                arguments={"item": "{{item}}"},
                withParam="{{tasks.split.outputs.parameters.items}}",
            ),
            a_task(
                "join",
                "join",
                "work",
                arguments={"all": "{{tasks.work.outputs.parameters.done}}"},
            ),
        ),
        a_step(
            "split",
            "-c",
            "echo 'the attempt {{retries}}'; printf '[\"a b\",\"c\",3]' > /tmp/items; "
            "exit $((1 - {{retries}}))",
            retryStrategy={"limit": 2},
            outputs={"parameters": [{"name": "items", "valueFrom": {"path": "/tmp/items"}}]},
        ),
        a_step(
            "work",
            "-c",
            "printf '%s!' \"{{inputs.parameters.item}}\" > /tmp/done",
            inputs=("item",),
            outputs={"parameters": [{"name": "done", "valueFrom": {"path": "/tmp/done"}}]},
        ),
        a_step("join", "-c", "echo '{{inputs.parameters.all}}'", inputs=("all",)),
    )
    verified = prod.verify(tmp_path, document)
    assert verified.exit_code == 0, verified.stdout
    runs = [(run["name"], run["attempt"], run["outcome"]) for run in verified.report["runs"]]
    assert runs[:2] == [("split", 0, "failed"), ("split", 1, "succeeded")]
    assert {name for name, *_ in runs[2:5]} == {"work(0)", "work(1)", "work(2)"}
    assert verified.output("split") == "the attempt 1"
    assert verified.output("join") == '["a b!","c!","3!"]'
    assert "The pauses between attempts were left out." in verified.report["notes"]


def test_last_words_without_a_newline(prod: Prod, tmp_path: Path) -> None:
    """Eight times: what is lost is lost now and then."""
    task = a_task("work", withItems=list(range(8)))
    step = a_step("work", "-c", "echo first; printf last")
    verified = prod.verify(tmp_path, prod.small(a_dag("entry", task), step))
    assert verified.exit_code == 0, verified.stderr
    assert [run["output"] for run in verified.report["runs"]] == ["first\nlast"] * 8


@pytest.mark.parametrize("exit_code", [0, 14])
def test_no_value_of_a_secret_is_shown(prod: Prod, tmp_path: Path, exit_code: int) -> None:
    given = {"TOKEN": 'planted "t0ken" of 5$', "DSN": "postgres://ada:planted-pw@db/x"}
    (tmp_path / "api.env").write_text("".join(f"{k}={v}\n" for k, v in given.items()))
    script = f'echo "[$TOKEN][$DSN]"; echo "$TOKEN: Permission denied" >&2; exit {exit_code}'
    document = prod.small(a_step("work", "-c", script, envFrom=[{"secretRef": {"name": "api"}}]))
    options = ["--logs", str(tmp_path / "logs"), "--html", str(tmp_path / "page.html")]
    options += ["--secret", f"api={tmp_path / 'api.env'}"]
    verified = prod.verify(tmp_path, document, *options)
    path = tmp_path / "flow.json"
    text = prod.project.run("verify", str(path), *options)

    assert verified.exit_code == text.returncode == exit_code, verified.stderr
    kept = [*(tmp_path / "logs").iterdir(), tmp_path / "page.html"]
    assert len(kept) == 2
    said = [verified.stdout, verified.stderr, text.stdout, text.stderr]
    said += [file.read_text() for file in kept]
    assert not [one for one in said if "planted" in one or "t0ken" in one]
    assert "[***][***]" in verified.output("work")
    assert "work | [***][***]" in text.stderr


def test_a_parameter_arrives_as_it_is_given(prod: Prod, tmp_path: Path) -> None:
    value = 'it\'s "quoted",  costs 5$ of $HOME and `id`'
    document = prod.small(
        a_step(
            "work",
            "-c",
            'printf "[%s]" "$TEXT"',
            env=[{"name": "TEXT", "value": "{{workflow.parameters.text}}"}],
        ),
        arguments={"parameters": [{"name": "text"}]},
    )
    verified = prod.verify(tmp_path, document, "--parameter", f"text={value}")
    assert verified.exit_code == 0, verified.stdout + verified.stderr
    assert verified.output("work") == f"[{value}]"


@pytest.mark.parametrize(
    ("end", "exit_code"),
    [
        pytest.param(signal.SIGINT, 130, id="SIGINT"),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
    ],
)
def test_stopped_it_leaves_nothing_behind(
    prod: Prod, tmp_path: Path, end: signal.Signals, exit_code: int
) -> None:
    script = "echo sleeping; sleep 100"
    document = prod.small(
        a_dag("entry", a_task("a"), a_task("b")), a_step("work", "-c", script), image=prod.image
    )
    process = start(prod, tmp_path, document)
    assert process.stderr
    waiting = 2
    while waiting:
        line = process.stderr.readline()
        assert line
        waiting -= "| sleeping" in line
    with contextlib.closing(prod.engine()) as engine:
        containers = containers_of(prod, engine)
        volumes = [mount["Name"] for one in containers for mount in one.attrs["Mounts"]]
        process.send_signal(end)
        _, said = process.communicate(timeout=30)

        assert process.returncode == exit_code, said
        assert len(containers) == 2
        assert volumes
        assert not containers_of(prod, engine)
        for name in volumes:
            with pytest.raises(docker.errors.NotFound):
                engine.volumes.get(name)


def test_two_at_once(prod: Prod, tmp_path: Path) -> None:
    document = prod.small(a_step("work", "-c", "sleep 2; echo done"), image=prod.image)
    runs = [start(prod, tmp_path, document) for _ in range(2)]
    answers = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], answers
    with contextlib.closing(prod.engine()) as engine:
        assert not containers_of(prod, engine)


def test_what_is_not_known_is_refused_before_anything_is_asked(prod: Prod, tmp_path: Path) -> None:
    task = a_task("a", withSequence={"count": "2"})
    document = prod.small(a_dag("entry", task), a_step("work", "-c", "true"))
    verified = prod.verify(tmp_path, document, environment=NO_ENGINE)
    assert verified.exit_code == 14
    assert "withSequence in the task a of the template entry" in verified.stderr
    assert verified.stdout == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(("--parameter", "other=1"), "has no parameter other", id="parameter"),
        pytest.param((), "Parameters without a value: text", id="no value"),
        pytest.param(
            ("--parameter", "text=1"), "the secret api, which is not known here", id="no secret"
        ),
        pytest.param(
            ("--parameter", "text=1", "--secret", "other=x.env"),
            "No step has the secret other",
            id="other secret",
        ),
        pytest.param(
            ("--parameter", "text=1", "--secret", "api=/nowhere/x.env"),
            "The secret's file /nowhere/x.env can't be read",
            id="no file",
        ),
    ],
)
def test_what_is_missing_is_said_before_anything_is_asked(
    prod: Prod, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    step = a_step(
        "work",
        "-c",
        "echo {{workflow.parameters.text}}",
        envFrom=[{"secretRef": {"name": "api"}}],
    )
    document = prod.small(step, arguments={"parameters": [{"name": "text"}]})
    verified = prod.verify(tmp_path, document, *options, environment=NO_ENGINE)
    assert verified.exit_code == 14
    assert said in verified.stderr


def test_no_engine(prod: Prod, tmp_path: Path) -> None:
    verified = prod.verify(tmp_path, prod.document, "--quick", environment=NO_ENGINE)
    assert verified.exit_code == 5
    assert "unix:///nowhere/docker.sock" in verified.stderr


def start(prod: Prod, folder: Path, document: Json) -> "subprocess.Popen[str]":
    """Begin to verify a workflow template."""
    path = folder / "flow.json"
    path.write_text(json.dumps(document))
    return subprocess.Popen(
        prod.project.command("verify", str(path)),
        cwd=prod.project.folder,
        env=prod.project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )


def containers_of(prod: Prod, engine: docker.DockerClient) -> list[Container]:
    """What verify made of the prod image, which no other test has, as they may the dev image."""
    image = engine.images.get(prod.image.partition("@")[0]).id
    found = engine.containers.list(all=True, filters={"label": "aicore-build.verify"})
    return [container for container in found if container.attrs["Image"] == image]
