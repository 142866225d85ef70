"""The workflow template: what AI Core needs and the generator leaves out. Pure."""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aicore_build.errors import FlowError, GeneratorError, SettingsError
from aicore_build.features import argo_artifacts
from aicore_build.flow import Flow, Step
from aicore_build.parameters import pass_by_environment
from aicore_build.settings import Settings

Json = dict[str, Any]

RESOURCE_PLAN = "ai.sap.com/resourcePlan"

_SERVICE_HEADERS = "METADATA_SERVICE_HEADERS"
"""The plugin copies the headers for Metaflow's service here: often a key, and read by nobody."""

_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?)?", re.ASCII)
_NAME_PART = r"[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME_PART}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What is added to a generated workflow template."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    object_store_secret: str
    image_pull_secrets: tuple[str, ...]

    required_parameters: frozenset[str]
    """Names of the flow's parameters that have to be given."""

    pod_labels: Mapping[str, Mapping[str, str]]
    """By step: what @argo(labels=…) and the resource plan of the settings give."""

    variables: Mapping[str, Mapping[str, str]]
    """By step: what @environment gives; the plugin drops what is 0, False or empty."""


def plan_completion(flow: Flow, settings: Settings) -> Completion:
    """Decide what is added to the workflow template.

    Raises:
        SettingsError: a mandatory setting is missing (all that are missing are named), or a label
            is not valid.
        FlowError: a step's @argo has labels that are not a dict, or artifacts that are not a list.
    """
    missing = [
        name for name in ("scenario_id", "scenario_name", "version") if not getattr(settings, name)
    ]
    if missing:
        keys = [name.replace("_", "-") for name in missing]
        raise SettingsError(
            f"SAP AI Core needs what is not set: {', '.join(keys)}.\n"
            "Set it in [tool.aicore-build] of pyproject.toml beside the flow, or give "
            f"{' '.join(f'--{key} …' for key in keys)}."
        )
    completion = Completion(
        labels={
            **settings.labels,
            "scenarios.ai.sap.com/id": str(settings.scenario_id),
            "ai.sap.com/version": str(settings.version),
        },
        annotations={
            **_artifact_annotations(flow),
            **settings.annotations,
            "scenarios.ai.sap.com/name": str(settings.scenario_name),
            "executables.ai.sap.com/name": settings.executable_name or flow.name.lower(),
        },
        object_store_secret=settings.object_store_secret,
        image_pull_secrets=settings.image_pull_secrets,
        required_parameters=frozenset(p.name for p in flow.parameters if p.required),
        pod_labels={step.name: _pod_labels(step, settings) for step in flow.steps},
        variables={step.name: _variables(step) for step in flow.steps},
    )
    for key, value in completion.labels.items():
        _check_label(key, value)
    for key in completion.annotations:
        _check_key(key)
    for labels in completion.pod_labels.values():
        for key, value in labels.items():
            _check_label(key, value)
    return completion


def _artifact_annotations(flow: Flow) -> dict[str, str]:
    """How AI Core is to register the artifacts of @argo: inputs as datasets, outputs as models."""
    found = {}
    for step in flow.steps:
        for artifact in argo_artifacts(step, "input_artifacts"):
            found[str(artifact.get("name"))] = ("dataset", str(artifact.get("name")))
        for artifact in argo_artifacts(step, "output_artifacts"):
            if artifact.get("globalName"):
                found[str(artifact["globalName"])] = ("model", str(artifact.get("name")))
    return {
        f"artifacts.ai.sap.com/{key}.{part}": value
        for key, values in found.items()
        for part, value in zip(("kind", "name"), values, strict=True)
    }


def _pod_labels(step: Step, settings: Settings) -> Mapping[str, str]:
    """The labels of a step's pod that the plugin would change the case of, as they were meant."""
    labels = step.decorators.get("argo", {}).get("labels") or {}
    if not isinstance(labels, Mapping):
        raise FlowError(
            f"The labels of @argo at step {step.name} are not a dict.\n"
            f'Write @argo(labels={{"{RESOURCE_PLAN}": "train.l"}}).'
        )
    own = settings.steps[step.name].resource_plan if step.name in settings.steps else None
    from_flow = {str(key): str(value) for key, value in labels.items()}
    if own:
        return {**from_flow, RESOURCE_PLAN: own}
    if settings.resource_plan:
        return {RESOURCE_PLAN: settings.resource_plan, **from_flow}
    return from_flow


def _variables(step: Step) -> Mapping[str, str]:
    variables = step.decorators.get("environment", {}).get("vars") or {}
    return {str(name): str(value) for name, value in variables.items()}


def _check_label(key: str, value: str) -> None:
    _check_key(key)
    if not _LABEL_VALUE.fullmatch(value):
        raise SettingsError(
            f"The label {key} can't have the value {value!r}: Kubernetes allows up to 63 letters, "
            "digits, '-', '_' and '.', beginning and ending with a letter or digit."
        )


def _check_key(key: str) -> None:
    if not _LABEL_KEY.fullmatch(key):
        raise SettingsError(
            f"{key!r} is not a valid name of a label or annotation: it is a name of up to 63 "
            "letters, digits, '-', '_' and '.', with a domain and '/' before it at most."
        )


def complete(workflow_template: Json, completion: Completion, images: Mapping[str, str]) -> Json:
    """Complete a generated workflow template, and name each step's image.

    Args:
        workflow_template: as the generator wrote it; stays as it is.
        completion: what to add.
        images: image reference by step.

    Raises:
        GeneratorError: its containers are not those of the flow's steps.
    """
    document = copy.deepcopy(workflow_template)
    metadata, spec = document["metadata"], document["spec"]
    metadata["labels"] = _label_values({**metadata.get("labels", {}), **completion.labels})
    metadata["annotations"] = _sorted({**metadata.get("annotations", {}), **completion.annotations})
    if pods := spec.get("workflowMetadata"):
        pods["labels"] = _label_values(pods.get("labels", {}))
    if completion.image_pull_secrets:
        names = [secret["name"] for secret in spec.get("imagePullSecrets", [])]
        names = list(dict.fromkeys([*names, *completion.image_pull_secrets]))
        spec["imagePullSecrets"] = [{"name": name} for name in names]
    steps = {template_name(step): step for step in images}
    templates = {t["name"].lower(): t for t in container_templates(document)}
    if len(steps) != len(images) or steps.keys() != templates.keys():
        raise GeneratorError(
            f"The containers of the workflow template ({', '.join(templates)}) are not the steps "
            f"of the flow ({', '.join(images)}).\n"
            "Give the steps names that differ in more than case and '_'."
        )
    for name, template in templates.items():
        _complete_container(template, completion, steps[name], images[steps[name]])
    pass_by_environment(document, completion.required_parameters)
    return document


def _complete_container(template: Json, completion: Completion, step: str, image: str) -> None:
    metadata, container = template.setdefault("metadata", {}), template["container"]
    labels = {**metadata.get("labels", {}), **completion.pod_labels.get(step, {})}
    metadata["labels"] = _label_values(labels)
    container["image"] = image
    secret = {"secretRef": {"name": completion.object_store_secret}}
    sources = container.setdefault("envFrom", [])
    if secret not in sources:
        sources.append(secret)
    given = completion.variables.get(step, {})
    container["env"] = [
        _variable(variable, given)
        for variable in container.get("env", [])
        if variable["name"] != _SERVICE_HEADERS
    ]


def _variable(variable: Json, given: Mapping[str, str]) -> Json:
    """As Kubernetes takes it: a value is text, also where the flow gives a number or nothing."""
    if "valueFrom" in variable:
        return variable
    value = variable.get("value", given.get(variable["name"], ""))
    return {**variable, "value": str(value)}


def container_templates(workflow_template: Json) -> Iterator[Json]:
    """The templates of a workflow template that run a container: one a step."""
    return (t for t in workflow_template["spec"]["templates"] if "container" in t)


def template_name(step: str) -> str:
    """The name that the generator gives to a step's template."""
    return step.replace("_", "-").lower()


def render_json(workflow_template: Json) -> str:
    """Render as the file that AI Core syncs."""
    return json.dumps(workflow_template, indent=4, ensure_ascii=False) + "\n"


def _label_values(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels in a fixed order (the plugin's is random), with values that Kubernetes takes."""
    return {key: _label_value(str(value)) for key, value in sorted(labels.items())}


def _label_value(value: str) -> str:
    if _LABEL_VALUE.fullmatch(value):
        return value
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", value)[:63].strip("-_.")


def _sorted(values: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(values.items()))
