"""Runs a workflow template's steps on this machine, in the order that Argo would run them in.

It knows what the SAP plugin writes and nothing more: anything else in a workflow template is an
error by name, not something left out. As on SAP AI Core, a container runs as user 65534 without
capabilities, and knows of S3 only what the secret gives that its template names.
"""

import contextlib
import io
import itertools
import json
import os
import re
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

Json = dict[str, Any]
Scope = Mapping[str, str]

USER = "65534:65534"
TIMEOUT = 600
"""Seconds after which a container is killed."""

_CALL_KEYS = {"name", "inputs", "outputs"}
_DAG_KEYS = _CALL_KEYS | {"dag"}
_STEP_KEYS = _CALL_KEYS | {"container", "metadata", "activeDeadlineSeconds", "retryStrategy"}
_TASK_KEYS = {"name", "template", "dependencies", "arguments", "withParam"}
_CONTAINER_KEYS = {"image", "command", "args", "env", "envFrom", "resources"}
_PARAMETERS = {"parameters"}


class RehearsalError(Exception):
    """A step failed, or the workflow template has something that is not known here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRun:
    """A container that ran to its end."""

    name: str
    """The step's template, with the index if it runs several times."""

    image: str
    attempt: int
    exit_code: int
    output: str
    seconds: float


def rehearse(
    workflow_template: Path,
    connect: Callable[[], docker.DockerClient],
    secrets: Mapping[str, Mapping[str, str]],
    show: Callable[[str, str], None] = lambda _name, _line: None,
) -> tuple[StepRun, ...]:
    """Run all steps from their images, which are pulled by digest.

    Args:
        workflow_template: the JSON file.
        connect: gives a client of the engine to run in; each container has its own.
        secrets: by name, the variables that each gives to a container whose `envFrom` names it.
        show: is called with the step and each line of its output; from several threads.

    Raises:
        RehearsalError: a step failed, or there is something unknown in the workflow template.
    """
    document: Json = json.loads(workflow_template.read_text(encoding="utf-8"))
    rehearsal = _Rehearsal(document, connect, secrets, show)
    rehearsal.run()
    return tuple(rehearsal.runs)


class _Rehearsal:
    def __init__(
        self,
        document: Json,
        connect: Callable[[], docker.DockerClient],
        secrets: Mapping[str, Mapping[str, str]],
        show: Callable[[str, str], None],
    ) -> None:
        self.runs: list[StepRun] = []
        self._spec: Json = document["spec"]
        self._templates: dict[str, Json] = {t["name"]: t for t in self._spec["templates"]}
        self._connect = connect
        self._secrets = secrets
        self._show = show
        self._numbers = itertools.count()
        self._workflow = f"{document['metadata']['name']}-{uuid.uuid4().hex[:5]}"
        # A parameter without a value is bound by AI Core; here that is an unknown name.
        parameters = self._spec.get("arguments", {}).get("parameters", [])
        self._globals = {"workflow.name": self._workflow} | {
            f"workflow.parameters.{p['name']}": p["value"] for p in parameters if "value" in p
        }

    def run(self) -> None:
        self._run_template(self._spec["entrypoint"], {}, self._spec["entrypoint"])

    def _run_template(self, name: str, inputs: Scope, label: str) -> dict[str, str]:
        """Run a DAG or a container; return its output parameters."""
        template = self._templates[name]
        scope = self._globals | {f"inputs.parameters.{key}": v for key, v in inputs.items()}
        for key in ("inputs", "outputs"):
            _only(template.get(key, {}), _PARAMETERS, f"the {key} of {name}")
        _only(template, _DAG_KEYS if "dag" in template else _STEP_KEYS, f"the template {name}")
        if "dag" in template:
            return self._run_dag(template, scope, label)
        return self._run_container(template, scope, label)

    def _run_dag(self, template: Json, scope: Scope, label: str) -> dict[str, str]:
        known = dict(scope)
        index = label.removeprefix(template["name"])
        for task in _in_order(template["dag"]["tasks"]):
            _only(task, _TASK_KEYS, f"the task {task['name']}")
            called = f"{task['template']}{index}"
            if "withParam" in task:
                items = enumerate(json.loads(substitute(task["withParam"], known)))
                with ThreadPoolExecutor(os.cpu_count()) as pool:
                    calls = [
                        pool.submit(
                            self._run_task,
                            task,
                            known | {"item": _as_text(item)},
                            f"{called}({number})",
                        )
                        for number, item in items
                    ]
                outputs = [call.result() for call in calls]
                known[f"tasks.{task['name']}.outputs.parameters"] = _as_text(outputs)
            else:
                for key, value in self._run_task(task, known, called).items():
                    known[f"tasks.{task['name']}.outputs.parameters.{key}"] = value
        return {
            output["name"]: substitute(output["valueFrom"]["parameter"], known)
            for output in template.get("outputs", {}).get("parameters", [])
        }

    def _run_task(self, task: Json, scope: Scope, label: str) -> dict[str, str]:
        arguments = task.get("arguments", {}).get("parameters", [])
        inputs = {a["name"]: substitute(a["value"], scope) for a in arguments}
        return self._run_template(task["template"], inputs, label)

    def _run_container(self, template: Json, scope: Scope, label: str) -> dict[str, str]:
        """Run a container until it succeeds, as often as its retryStrategy allows."""
        attempts = int(template.get("retryStrategy", {}).get("limit", 0)) + 1
        for attempt in range(attempts):
            pod = f"{self._workflow}-{template['name']}-{next(self._numbers)}"
            known = dict(scope) | {"pod.name": pod, "retries": str(attempt)}
            ready = substitute_all({k: v for k, v in template.items() if k != "inputs"}, known)
            with self._container(ready["container"], pod) as container:
                run = self._watch(container, ready["container"]["image"], label, attempt)
                self.runs.append(run)
                if run.exit_code == 0:
                    return {
                        output["name"]: output["value"]
                        if "value" in output
                        else _read(container, output["valueFrom"]["path"])
                        for output in ready.get("outputs", {}).get("parameters", [])
                    }
        raise RehearsalError(
            f"The step {label} failed {attempts} time(s), at last with exit code {run.exit_code}:\n"
            f"{run.output}"
        )

    @contextlib.contextmanager
    def _container(self, spec: Json, name: str) -> Iterator[Container]:
        """Create a container by its image's digest, from what the registry has."""
        _only(spec, _CONTAINER_KEYS, "a container")
        tagged, separator, digest = spec["image"].partition("@")
        if not separator:
            raise RehearsalError(f"The image {tagged} is not named by its digest.")
        repository = re.sub(r":[^:/]+$", "", tagged)
        with contextlib.closing(self._connect()) as client:
            client.images.pull(f"{repository}@{digest}")
            container = client.containers.create(
                f"{repository}@{digest}",
                name=name,
                entrypoint=spec["command"],
                command=spec["args"],
                environment=self._environment(spec),
                user=USER,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                network_mode="host",
            )
            try:
                yield container
            finally:
                container.remove(force=True)

    def _environment(self, spec: Json) -> dict[str, str]:
        environment: dict[str, str] = {}
        for source in spec.get("envFrom", []):
            _only(source, {"secretRef"}, "envFrom")
            secret = source["secretRef"]["name"]
            if secret not in self._secrets:
                raise RehearsalError(f"There is no secret {secret}.")
            environment |= self._secrets[secret]
        for variable in spec.get("env", []):
            _only(variable, {"name", "value"}, "an env variable")
            environment[variable["name"]] = variable["value"]
        return environment

    def _watch(self, container: Container, image: str, label: str, attempt: int) -> StepRun:
        lines = []
        started = time.monotonic()
        container.start()
        too_long = threading.Timer(TIMEOUT, container.kill)
        too_long.start()
        try:
            stream = container.logs(stream=True, follow=True)
            for line in io.TextIOWrapper(io.BufferedReader(_Stream(stream)), errors="replace"):
                lines.append(line.rstrip("\n"))
                self._show(label, lines[-1])
            exit_code = container.wait()["StatusCode"]
        finally:
            too_long.cancel()
        return StepRun(
            name=label,
            image=image,
            attempt=attempt,
            exit_code=exit_code,
            output="\n".join(lines),
            seconds=time.monotonic() - started,
        )


class _Stream(io.RawIOBase):
    """The chunks of a log as a file, so that lines and characters are put together again."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401
        if not self._rest:
            self._rest = next(self._chunks, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def substitute(text: str, scope: Scope) -> str:
    """Put values in the place of `{{names}}`.

    Raises:
        RehearsalError: a name has no value.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in scope:
            raise RehearsalError(f"{match[0]} is not known. Known: {', '.join(sorted(scope))}.")
        return scope[match[1]]

    return re.sub(r"\{\{\s*(.*?)\s*\}\}", value, text)


def substitute_all(part: Any, scope: Scope) -> Any:  # noqa: ANN401
    """The same for all texts of a JSON document."""
    if isinstance(part, dict):
        return {key: substitute_all(value, scope) for key, value in part.items()}
    if isinstance(part, list):
        return [substitute_all(value, scope) for value in part]
    return substitute(part, scope) if isinstance(part, str) else part


def _in_order(tasks: Iterable[Json]) -> Iterator[Json]:
    """Each task after those that it depends on."""
    done: set[str] = set()
    waiting = list(tasks)
    while waiting:
        task = next((t for t in waiting if done.issuperset(t.get("dependencies", []))), None)
        if task is None:
            names = ", ".join(t["name"] for t in waiting)
            raise RehearsalError(f"These tasks wait for each other, or for none: {names}.")
        yield task
        waiting.remove(task)
        done.add(task["name"])


def _as_text(item: object) -> str:
    # Compact, as Go writes it: the steps take such a text apart with a shell.
    return item if isinstance(item, str) else json.dumps(item, separators=(",", ":"))


def _only(part: Mapping[str, object], known: set[str], what: str) -> None:
    if unknown := sorted(part.keys() - known):
        raise RehearsalError(f"{', '.join(unknown)} in {what}: not known here.")


def _read(container: Container, path: str) -> str:
    """Read a file out of a stopped container."""
    chunks, _ = container.get_archive(path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        member = tar.extractfile(tar.getmembers()[0])
        if member is None:
            raise RehearsalError(f"{path} is not a file.")
        return member.read().decode()
