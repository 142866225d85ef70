"""A workflow template as Argo reads it: the part of Argo that is known here. Pure.

What is not known is refused by name before anything runs, never left out:
https://argo-workflows.readthedocs.io/en/latest/fields/
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from aicore_build.errors import VerifyError
from aicore_build.verify.report import Node
from aicore_build.workflow import RESOURCE_PLAN, Json

Scope = Mapping[str, str]
"""What `{{names}}` stand for."""

_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)

_ENCODED = re.compile(r"=\s*toBase64\(\s*((?:workflow|inputs)\.parameters)\['([\w-]+)'\]\s*\)")
"""The one expression that Metaflow writes."""

_SWITCH = re.compile(
    r"\(\{\{=\(tasks\['([\w-]+)'\]\.status == 'Succeeded' \? "
    r"tasks\['[\w-]+'\]\.outputs\.parameters\['([\w-]+)'\] : nil\) == '([^']*)'\}\}\)"
)
"""The condition that Metaflow writes for a switch: which step was chosen."""

_RETRIED = {"Always", "OnFailure"}
"""Retry policies under which a container that exits non-zero is tried again."""


class UnknownError(VerifyError):
    """A workflow template has what is not known here."""

    def __init__(self, what: Iterable[str]) -> None:
        lines = "\n".join(f"  {one}" for one in what)
        super().__init__(
            f"The workflow template has what can't be run here:\n{lines}\n"
            "Nothing was run. `aicore-build verify --quick` looks at the images alone."
        )


class Needs(Enum):
    """What a task needs of those before it, some of which may have been skipped."""

    END = auto()
    SUCCESS_OF_ALL = auto()
    SUCCESS_OF_ONE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task of a DAG."""

    name: str
    template: str
    dependencies: tuple[str, ...]
    arguments: Mapping[str, str]

    items: str | None
    """`withParam`: the text that becomes a JSON list, one run of the task for each item."""

    when: str | None

    needs: Needs = Needs.END
    """Of its dependencies, when all of them are over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dag:
    """A template that runs others."""

    name: str
    inputs: Mapping[str, str | None]
    """Its parameters, and what they are where the caller gives none."""

    tasks: tuple[Task, ...]
    outputs: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One of a container's environment: a text, or a key of a secret."""

    name: str
    value: str = ""
    secret: str | None = None
    key: str = ""

    of_pod: str | None = None
    """A field of the pod, such as `metadata.name`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A parameter that a container gives: a text, or what is in a file when it has ended."""

    name: str
    value: str | None = None
    path: str | None = None
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A template that runs a container."""

    name: str
    inputs: Mapping[str, str | None]
    outputs: tuple[Output, ...]
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    variables: tuple[Variable, ...]

    secrets: tuple[str, ...]
    """Whose keys are all in the environment."""

    resource_plan: str | None

    deadline: int | None
    """Seconds for one attempt."""

    retries: int
    """Further attempts after the first."""

    folders: tuple[str, ...] = ()
    """Where empty folders are mounted."""

    in_memory: tuple[str, ...] = ()
    """Where empty folders are mounted that are kept in memory, such as /dev/shm."""

    @property
    def needed_secrets(self) -> tuple[str, ...]:
        """Names of all secrets that the container is given something of."""
        single = (variable.secret for variable in self.variables if variable.secret)
        return tuple(dict.fromkeys((*self.secrets, *single)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A whole workflow template."""

    name: str
    entrypoint: str
    templates: Mapping[str, Dag | Step]

    parameters: Mapping[str, str | None]
    """None where AI Core has to bind a value."""

    parallelism: int | None
    deadline: int | None
    """Seconds for all of it."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """In the order of the workflow template."""
        return tuple(t for t in self.templates.values() if isinstance(t, Step))

    def outputs_of(self, name: str) -> tuple[str, ...]:
        """The names of a template's output parameters."""
        template = self.templates[name]
        if isinstance(template, Dag):
            return tuple(template.outputs)
        return tuple(output.name for output in template.outputs)

    def graph(self) -> tuple[Node, ...]:
        """What the entrypoint runs, to be drawn."""
        return self._nodes(self.templates[self.entrypoint], ())

    def _nodes(self, template: Dag | Step, above: tuple[str, ...]) -> tuple[Node, ...]:
        if isinstance(template, Step):
            return ()
        above = (*above, template.name)
        return tuple(
            Node(
                name=task.name,
                template=task.template,
                dependencies=task.dependencies,
                foreach=task.items is not None,
                # A DAG that calls itself is drawn once.
                inner=self._nodes(self.templates[task.template], above)
                if task.template not in above
                else (),
            )
            for task in template.tasks
        )


@dataclass(slots=True)
class _Reader:
    """Reads a document, and collects what it doesn't know."""

    unknown: list[str] = field(default_factory=list)

    def only(self, part: Mapping[str, Any], known: set[str], where: str) -> None:
        self.unknown += [f"{key} in {where}" for key in part if key not in known]

    def workflow(self, document: Json) -> Workflow:
        spec = document["spec"]
        known = {"entrypoint", "templates", "arguments", "parallelism", "activeDeadlineSeconds"}
        # They say how pods are labelled and how images are pulled: nothing that a run here needs.
        known |= {"workflowMetadata", "podMetadata", "imagePullSecrets"}
        self.only(spec, known, "spec")
        arguments = spec.get("arguments") or {}
        self.only(arguments, {"parameters"}, "spec.arguments")
        return Workflow(
            name=document["metadata"]["name"],
            entrypoint=spec["entrypoint"],
            templates={t["name"]: self.template(t) for t in spec["templates"]},
            parameters=self.values(arguments.get("parameters") or [], "spec.arguments"),
            parallelism=self.number(spec.get("parallelism"), "spec.parallelism"),
            deadline=self.number(spec.get("activeDeadlineSeconds"), "spec.activeDeadlineSeconds"),
        )

    def template(self, template: Json) -> Dag | Step:
        where = f"the template {template['name']}"
        inputs = template.get("inputs") or {}
        self.only(inputs, {"parameters"}, f"the inputs of {where}")
        parameters = self.values(inputs.get("parameters") or [], f"the inputs of {where}")
        outputs = template.get("outputs") or {}
        self.only(outputs, {"parameters"}, f"the outputs of {where}")
        given = outputs.get("parameters") or []
        if "dag" in template:
            return self.dag(template, parameters, given, where)
        return self.step(template, parameters, given, where)

    def values(self, parameters: Iterable[Json], where: str) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for parameter in parameters:
            self.only(parameter, {"name", "value", "default", "description"}, where)
            value = parameter.get("value", parameter.get("default"))
            found[parameter["name"]] = None if value is None else as_text(value)
        return found

    def dag(
        self, template: Json, inputs: Mapping[str, str | None], given: list[Json], where: str
    ) -> Dag:
        # failFast ends what isn't begun after a failure; here a failure ends all of it.
        self.only(template, {"name", "inputs", "outputs", "dag", "metadata"}, where)
        self.only(template["dag"], {"tasks", "failFast"}, f"the dag of {where}")
        outputs = {}
        for output in given:
            source = output.get("valueFrom") or {}
            self.only(output, {"name", "valueFrom"}, f"the outputs of {where}")
            self.only(source, {"parameter"}, f"the output {output['name']} of {where}")
            outputs[output["name"]] = source.get("parameter", "")
        tasks = tuple(self.task(task, where) for task in template["dag"]["tasks"])
        return Dag(name=template["name"], inputs=inputs, tasks=tasks, outputs=outputs)

    def task(self, task: Json, where: str) -> Task:
        where = f"the task {task['name']} of {where}"
        known = {"name", "template", "dependencies", "depends", "arguments", "when"}
        self.only(task, known | {"withParam", "withItems"}, where)
        arguments = task.get("arguments") or {}
        self.only(arguments, {"parameters"}, f"the arguments of {where}")
        items = task.get("withParam")
        if "withItems" in task:
            items = json.dumps(task["withItems"])
        if "template" not in task:
            self.unknown.append(f"no template in {where}")
        dependencies, needs = self.dependencies(task, where)
        return Task(
            name=task["name"],
            template=task.get("template", ""),
            dependencies=dependencies,
            needs=needs,
            arguments={
                a["name"]: as_text(a.get("value", "")) for a in arguments.get("parameters") or []
            },
            items=items,
            when=task.get("when"),
        )

    def dependencies(self, task: Json, where: str) -> tuple[tuple[str, ...], Needs]:
        """The tasks that it waits for; of `depends`, only that all or one of them succeeded."""
        text = (task.get("depends") or "").strip()
        if not text:
            return tuple(task.get("dependencies") or ()), Needs.END
        needs = Needs.SUCCESS_OF_ONE if "||" in text else Needs.SUCCESS_OF_ALL
        parts = re.split(r"\s*\|\|\s*" if needs is Needs.SUCCESS_OF_ONE else r"\s*&&\s*", text)
        matches = [re.fullmatch(r"([A-Za-z0-9][\w-]*)(?:\.Succeeded)?", part) for part in parts]
        if not all(matches):
            self.unknown.append(f"`depends: {text}` in {where}")
        return tuple(match[1] for match in matches if match), needs

    def step(
        self, template: Json, inputs: Mapping[str, str | None], given: list[Json], where: str
    ) -> Step:
        known = {"name", "inputs", "outputs", "metadata", "container", "volumes", "failFast"}
        self.only(template, known | {"activeDeadlineSeconds", "retryStrategy"}, where)
        container = template.get("container")
        if container is None:
            self.unknown.append(f"no container in {where}")
            container = {}
        where = f"the container of {where}"
        # Requests and limits: what the resource plan gives counts on AI Core. A pull policy and a
        # working folder of its own are not.
        known = {"name", "image", "command", "args", "env", "envFrom", "resources", "volumeMounts"}
        self.only(container, known, where)
        labels = (template.get("metadata") or {}).get("labels") or {}
        return Step(
            name=template["name"],
            inputs=inputs,
            outputs=tuple(self.output(output, where) for output in given),
            image=container.get("image", ""),
            command=tuple(container.get("command") or ()),
            args=tuple(container.get("args") or ()),
            variables=tuple(self.variable(v, where) for v in container.get("env") or []),
            secrets=tuple(self.secret(source, where) for source in container.get("envFrom") or []),
            resource_plan=labels.get(RESOURCE_PLAN),
            deadline=self.number(template.get("activeDeadlineSeconds"), f"deadline of {where}"),
            retries=self.retries(template.get("retryStrategy"), where),
            folders=self.folders(template, container, where, None),
            in_memory=self.folders(template, container, where, "Memory"),
        )

    def output(self, output: Json, where: str) -> Output:
        self.only(output, {"name", "value", "valueFrom"}, f"an output of {where}")
        source = output.get("valueFrom") or {}
        self.only(source, {"path", "default"}, f"the output {output['name']} of {where}")
        return Output(
            name=output["name"],
            value=_text_of(output, "value"),
            path=source.get("path"),
            default=_text_of(source, "default"),
        )

    def variable(self, variable: Json, where: str) -> Variable:
        name = variable["name"]
        self.only(variable, {"name", "value", "valueFrom"}, f"the variable {name} of {where}")
        source = variable.get("valueFrom")
        if source is None:
            return Variable(name=name, value=variable.get("value", ""))
        self.only(source, {"secretKeyRef", "fieldRef"}, f"the variable {name} of {where}")
        if "fieldRef" in source:
            self.only(source["fieldRef"], {"fieldPath", "apiVersion"}, f"fieldRef of {name}")
            return Variable(name=name, of_pod=source["fieldRef"].get("fieldPath"))
        reference = source.get("secretKeyRef") or {}
        return Variable(name=name, secret=reference.get("name"), key=reference.get("key", ""))

    def secret(self, source: Json, where: str) -> str:
        self.only(source, {"secretRef"}, f"envFrom of {where}")
        return str((source.get("secretRef") or {}).get("name"))

    def retries(self, strategy: Json | None, where: str) -> int:
        if strategy is None:
            return 0
        # The pauses between attempts are left out: they prove nothing.
        self.only(strategy, {"limit", "retryPolicy", "backoff"}, f"retryStrategy of {where}")
        limit = self.number(strategy.get("limit", 0), f"retryStrategy.limit of {where}")
        return limit or 0 if strategy.get("retryPolicy", "OnFailure") in _RETRIED else 0

    def folders(
        self, template: Json, container: Json, where: str, medium: str | None
    ) -> tuple[str, ...]:
        volumes = {volume["name"]: volume for volume in template.get("volumes") or []}
        for volume in volumes.values():
            self.only(volume, {"name", "emptyDir"}, f"the volume {volume['name']} of {where}")
        mounts = container.get("volumeMounts") or []
        for mount in mounts:
            self.only(mount, {"name", "mountPath"}, f"a volumeMount of {where}")
            if mount["name"] not in volumes:
                self.unknown.append(f"the volume {mount['name']} in a volumeMount of {where}")
        return tuple(
            mount["mountPath"]
            for mount in mounts
            if (volumes.get(mount["name"], {}).get("emptyDir") or {}).get("medium") == medium
        )

    def number(self, value: object, what: str) -> int | None:
        if value is None:
            return None
        try:
            return int(str(value))
        except ValueError:
            self.unknown.append(f"{what}: {value!r}")
            return None


def parse_workflow(document: Json) -> Workflow:
    """Read a workflow template in which `lint` found no error.

    Raises:
        UnknownError: it has what is not known here; names all of it.
    """
    reader = _Reader()
    workflow = reader.workflow(document)
    if reader.unknown:
        raise UnknownError(dict.fromkeys(reader.unknown))
    return workflow


def bind_parameters(workflow: Workflow, given: Mapping[str, str]) -> dict[str, str]:
    """The values of the workflow's parameters.

    Raises:
        VerifyError: one that was given is unknown, or one without a value wasn't given.
    """
    if unknown := [name for name in given if name not in workflow.parameters]:
        known = ", ".join(workflow.parameters) or "none"
        raise VerifyError(
            f"The workflow template has no parameter {', '.join(unknown)}.\nIt has: {known}."
        )
    values = {**workflow.parameters, **given}
    if missing := [name for name, value in values.items() if value is None]:
        raise VerifyError(
            f"Parameters without a value: {', '.join(missing)}.\n"
            "In AI Core the configuration binds them. Here: "
            f"{' '.join(f'--parameter {name}=…' for name in missing)}."
        )
    return {name: str(value) for name, value in values.items()}


def substitute(text: str, scope: Scope) -> str:
    """Put values in the place of `{{names}}`.

    Raises:
        VerifyError: a name has no value, or there is an expression that is not known.
    """
    return _TAG.sub(lambda match: _value(match[1].strip(), scope), text)


def _value(name: str, scope: Scope) -> str:
    if name.startswith("="):
        encoded = _ENCODED.fullmatch(name)
        if encoded is None:
            raise UnknownError([f"the expression {{{{{name}}}}}"])
        return base64.b64encode(_value(f"{encoded[1]}.{encoded[2]}", scope).encode()).decode()
    if name not in scope:
        raise VerifyError(
            f"{{{{{name}}}}} has no value here. Known are: {', '.join(sorted(scope))}."
        )
    return scope[name]


def is_wanted(condition: str, scope: Scope) -> bool:
    """Whether a task runs, by its `when`: a comparison of two texts, or Metaflow's switch.

    Raises:
        UnknownError: it is something else.
    """
    if re.fullmatch(rf"{_SWITCH.pattern}(?:\s*\|\|\s*{_SWITCH.pattern})*", condition.strip()):
        return any(
            scope.get(f"tasks.{task}.outputs.parameters.{output}") == value
            for task, output, value in _SWITCH.findall(condition)
        )
    text = substitute(condition, scope)
    match = re.fullmatch(r"\s*(.*?)\s*(==|!=)\s*(.*?)\s*", text, re.DOTALL)
    more = match is None or re.search(r"&&|\|\||[=!<>]=|[<>]", f"{match[1]} {match[3]}")
    # Brackets and ! are looked for in the condition itself: an item's name may hold them.
    if match is None or more or re.search(r"[()]|!(?!=)", _TAG.sub("", condition)):
        raise UnknownError([f"the condition `when: {condition}`"])
    left, right = (part.strip("'\"") for part in (match[1], match[3]))
    return (left == right) is (match[2] == "==")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Put variables in the place of `$(NAME)`, as Kubernetes does in commands and values.

    `$$` becomes `$`; a name that is not there stays as it is.
    """
    return re.sub(
        r"\$\$|\$\((.*?)\)",
        lambda m: "$" if m[0] == "$$" else variables.get(m[1], m[0]),
        text,
        flags=re.DOTALL,
    )


def container_environment(
    step: Step, scope: Scope, secrets: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """The environment of a step's container: of its secrets, then its own variables.

    Args:
        step: whose.
        scope: for `{{names}}`.
        secrets: by name, what is in each secret that it needs.

    Raises:
        VerifyError: a secret lacks a key.
    """
    environment = {key: value for name in step.secrets for key, value in secrets[name].items()}
    for variable in step.variables:
        if variable.of_pod:
            # Nobody but the pod itself can know them; those of the node are empty here.
            environment[variable.name] = scope.get(f"pod.{variable.of_pod}", "")
        elif variable.secret:
            if variable.key not in secrets[variable.secret]:
                raise VerifyError(
                    f"The secret {variable.secret} has no key {variable.key}, which the variable "
                    f"{variable.name} of {step.name} is to have."
                )
            environment[variable.name] = secrets[variable.secret][variable.key]
        else:
            environment[variable.name] = expand(substitute(variable.value, scope), environment)
    return environment


def _text_of(part: Json, key: str) -> str | None:
    return None if part.get(key) is None else as_text(part[key])


def as_text(item: object) -> str:
    """An item or an argument as Argo passes it on."""
    # Compact, as Go writes it: the steps take such a text apart with a shell.
    if isinstance(item, str):
        return item
    return json.dumps(item, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
