"""Small workflow templates for the tests of verify, as documents and as they are read."""

from collections.abc import Mapping

from aicore_build.verify.argo import Step, Workflow, parse_workflow
from aicore_build.workflow import Json

IMAGE = "registry.example.com/acme/train:v1"


def a_task(
    name: str,
    template: str = "work",
    *dependencies: str,
    arguments: Mapping[str, object] | None = None,
    **values: object,
) -> Json:
    """A task; its arguments are given by name."""
    given = [{"name": key, "value": value} for key, value in (arguments or {}).items()]
    return {
        "name": name,
        "template": template,
        "dependencies": list(dependencies),
        "arguments": {"parameters": given},
        **values,
    }


def a_dag(
    name: str,
    *tasks: Json,
    inputs: tuple[str, ...] = (),
    outputs: dict[str, str] | None = None,
) -> Json:
    """A DAG; its outputs are names of others' parameters, in double braces."""
    given = [
        {"name": key, "valueFrom": {"parameter": value}} for key, value in (outputs or {}).items()
    ]
    return {
        "name": name,
        "inputs": {"parameters": [{"name": key} for key in inputs]},
        "outputs": {"parameters": given},
        "dag": {"tasks": list(tasks)},
    }


def a_step(name: str = "work", *args: str, inputs: tuple[str, ...] = (), **values: object) -> Json:
    """A template with a container; values whose names are a container's go there."""
    ours = {key: values.pop(key) for key in ("env", "envFrom", "volumeMounts") if key in values}
    return {
        "name": name,
        "inputs": {"parameters": [{"name": key} for key in inputs]},
        "container": {"image": IMAGE, "command": ["bash"], "args": list(args), **ours},
        **values,
    }


def a_document(*templates: Json, **spec: object) -> Json:
    """A workflow template; the first of its templates is the entrypoint."""
    return {
        "metadata": {"name": "trainflow"},
        "spec": {"entrypoint": templates[0]["name"], "templates": list(templates), **spec},
    }


def a_workflow(*templates: Json, **spec: object) -> Workflow:
    return parse_workflow(a_document(*templates, **spec))


def a_read_step(name: str = "work", *args: str, **values: object) -> Step:
    """One step without inputs, as it is read."""
    (step,) = a_workflow(a_step(name, *args, inputs=(), **values)).steps
    return step
