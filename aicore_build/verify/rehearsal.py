"""Runs the DAG of a workflow, in order, and side by side where the DAG allows it.

It is a rehearsal on one machine, not an engine: pauses between attempts are left out, and the first
failure ends all of it.
"""

import datetime
import itertools
import json
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from aicore_build.errors import VerifyError
from aicore_build.parallel import in_order, in_parallel
from aicore_build.verify.argo import (
    Dag,
    Needs,
    Scope,
    Step,
    Task,
    Workflow,
    as_text,
    container_environment,
    expand,
    is_wanted,
    substitute,
)
from aicore_build.verify.pods import Ended
from aicore_build.verify.report import Outcome

_NAMESPACE = "rehearsal"
_SUCCEEDED = "Succeeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt of a step, with all names replaced: what a container is made from."""

    label: str
    """The step's template, with indexes where it runs several times."""

    step: Step
    number: int
    """From 0."""

    command: tuple[str, ...]
    args: tuple[str, ...]
    environment: Mapping[str, str]


class Runner(Protocol):
    """Runs containers; called from several threads."""

    def __call__(self, attempt: Attempt) -> Ended:
        """Run one to its end."""


class StepFailedError(Exception):
    """A step failed in its last attempt."""

    def __init__(self, attempt: Attempt, ended: Ended) -> None:
        super().__init__(attempt.label)
        self.attempt = attempt
        self.ended = ended


def rehearse(
    workflow: Workflow,
    parameters: Mapping[str, str],
    secrets: Mapping[str, Mapping[str, str]],
    run: Runner,
    jobs: int,
) -> None:
    """Run all steps of a workflow.

    Args:
        workflow: as it was read.
        parameters: the value of each of its parameters.
        secrets: by name, what is in each secret that its steps need.
        run: runs one container.
        jobs: how many at the same time.

    Raises:
        StepFailedError: a step failed, and no attempt is left.
        VerifyError: something in the workflow has no meaning when it is run.
    """
    _Rehearsal(workflow, parameters, secrets, run, jobs).run()


class _Rehearsal:
    def __init__(
        self,
        workflow: Workflow,
        parameters: Mapping[str, str],
        secrets: Mapping[str, Mapping[str, str]],
        run: Runner,
        jobs: int,
    ) -> None:
        self._workflow = workflow
        self._secrets = secrets
        self._run = run
        self._jobs = min(jobs, workflow.parallelism or jobs)
        self._slots = threading.BoundedSemaphore(self._jobs)
        self._failure: BaseException | None = None
        self._numbers = itertools.count()
        self._name = f"{workflow.name}-{uuid.uuid4().hex[:5]}"
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._globals = {
            "workflow.name": self._name,
            "workflow.namespace": _NAMESPACE,
            "workflow.uid": str(uuid.uuid4()),
            "workflow.creationTimestamp": now,
            **{f"workflow.parameters.{name}": value for name, value in parameters.items()},
        }

    def run(self) -> None:
        try:
            self._template(self._workflow.entrypoint, {}, "")
        except BaseException as error:
            self._failure = self._failure or error
            raise

    def _template(self, name: str, arguments: Mapping[str, str], index: str) -> dict[str, str]:
        """Run a template; return its output parameters."""
        template = self._workflow.templates[name]
        scope = dict(self._globals)
        for key, default in template.inputs.items():
            value = arguments.get(key, default)
            if value is None:
                raise VerifyError(f"The template {name} is called without its parameter {key}.")
            scope[f"inputs.parameters.{key}"] = value
        if isinstance(template, Dag):
            return self._dag(template, scope, index)
        return self._step(template, scope, f"{name}{index}")

    def _dag(self, dag: Dag, scope: Scope, index: str) -> dict[str, str]:
        known = dict(scope)
        tasks = {task.name: task for task in dag.tasks}

        def run(name: str) -> None:
            known.update(self._task(tasks[name], dict(known), index))

        in_order(run, {task.name: task.dependencies for task in dag.tasks})
        return {name: substitute(text, known) for name, text in dag.outputs.items()}

    def _task(self, task: Task, scope: Scope, index: str) -> dict[str, str]:
        """Run a task, once or for each item; return what others may then refer to."""
        prefix = f"tasks.{task.name}.outputs.parameters"
        if not _is_ready(task, scope):
            # As Argo leaves what refers to a task that was skipped.
            outputs = self._workflow.outputs_of(task.template)
            left = {f"{prefix}.{key}": f"{{{{{prefix}.{key}}}}}" for key in outputs}
            return {f"tasks.{task.name}.status": "Skipped", **left}
        status = {f"tasks.{task.name}.status": _SUCCEEDED}
        if task.items is None:
            given = self._call(task, scope, index)
            return {**status, **{f"{prefix}.{key}": value for key, value in given.items()}}

        def run(numbered: tuple[int, object]) -> dict[str, str]:
            number, item = numbered
            fields = item.items() if isinstance(item, dict) else ()
            known = {**scope, "item": as_text(item)}
            known |= {f"item.{key}": as_text(value) for key, value in fields}
            return self._call(task, known, f"{index}({number})")

        items = list(enumerate(_items(substitute(task.items, scope), task)))
        all_outputs = in_parallel(run, items, self._jobs)
        keys = dict.fromkeys(key for outputs in all_outputs for key in outputs)
        return {
            **status,
            prefix: as_text(all_outputs),
            **{f"{prefix}.{key}": as_text([o.get(key) for o in all_outputs]) for key in keys},
        }

    def _call(self, task: Task, scope: Scope, index: str) -> dict[str, str]:
        arguments = {key: substitute(text, scope) for key, text in task.arguments.items()}
        return self._template(task.template, arguments, index)

    def _step(self, step: Step, scope: Scope, label: str) -> dict[str, str]:
        """Run a step until it succeeds, as often as it may."""
        for number in range(step.retries + 1):
            pod = f"{self._name}-{step.name}-{next(self._numbers)}"
            known = {
                **scope,
                "pod.name": pod,
                "retries": str(number),
                "pod.metadata.name": pod,
                "pod.metadata.namespace": _NAMESPACE,
                "pod.metadata.uid": str(uuid.uuid4()),
            }
            environment = container_environment(step, known, self._secrets)
            attempt = Attempt(
                label=label,
                step=step,
                number=number,
                command=tuple(expand(substitute(t, known), environment) for t in step.command),
                args=tuple(expand(substitute(t, known), environment) for t in step.args),
                environment=environment,
            )
            ended = self._attempt(attempt)
            if ended.outcome is Outcome.SUCCEEDED:
                return _outputs(step, ended, known)
        raise self._failure or StepFailedError(attempt, ended)

    def _attempt(self, attempt: Attempt) -> Ended:
        """Run an attempt when a slot is free; raise the first failure if there was one till then.

        It is remembered before the slot is given away, to one that may wait for it.
        """
        with self._slots:
            if self._failure:
                raise self._failure
            ended = self._run(attempt)
            last = attempt.number == attempt.step.retries
            if last and ended.outcome is not Outcome.SUCCEEDED and not self._failure:
                self._failure = StepFailedError(attempt, ended)
        return ended


def _is_ready(task: Task, scope: Scope) -> bool:
    """Whether a task runs, now that those before it are over."""
    before = [scope.get(f"tasks.{name}.status") == _SUCCEEDED for name in task.dependencies]
    if task.needs is Needs.SUCCESS_OF_ALL and not all(before):
        return False
    if task.needs is Needs.SUCCESS_OF_ONE and not any(before):
        return False
    return task.when is None or is_wanted(task.when, scope)


def _items(text: str, task: Task) -> list[object]:
    try:
        items = json.loads(text)
    except ValueError:
        items = None
    if not isinstance(items, list):
        raise VerifyError(
            f"The task {task.name} runs once for each item of a list, but what it is given, "
            f"{task.items}, is none."
        )
    return items


def _outputs(step: Step, ended: Ended, scope: Scope) -> dict[str, str]:
    values = {}
    for output in step.outputs:
        if output.path is None:
            values[output.name] = substitute(output.value or "", scope)
            continue
        value = ended.files.get(output.path)
        value = output.default if value is None else value
        if value is None:
            raise VerifyError(
                f"The step {step.name} ended well, but without the file {output.path}, from which "
                f"its output parameter {output.name} is taken."
            )
        values[output.name] = value.removesuffix("\n")
    return values
