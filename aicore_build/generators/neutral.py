"""Metaflow's own workflow template → one that SAP AI Core takes, always the same. Pure.

Metaflow writes for an Argo Workflows of the user's: with hooks, events, a namespace, the name of
who deploys and when, and null for all that isn't set.
"""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

from aicore_build.errors import GeneratorError
from aicore_build.workflow import Json

TOKEN = "aicore-build"  # noqa: S105 - tells deployments of one flow apart, and is no secret
"""Metaflow's production token; AI Core tells executables apart by their names."""

_OF_A_DEPLOYMENT = (
    "metaflow/deployment_timestamp",
    "metaflow/owner",
    "metaflow/production_token",
    "metaflow/user",
)
"""Annotations that say who deployed, and when."""

_NOT_ON_AI_CORE = {
    "onExit": "an exit handler",
    "serviceAccountName": "a service account",
    "synchronization": "synchronization",
    "podGC": "pod garbage collection",
}
_OF_THE_CLUSTER = (
    "affinity",
    "nodeSelector",
    "priorityClassName",
    "serviceAccountName",
    "tolerations",
)
"""Of a template: where and as whom a pod runs, which AI Core decides itself."""

_LEFT_OUT = re.compile(
    # The production token only says "production" in the tags of a run.
    r"METAFLOW_ARGO_EVENTS_|METAFLOW_PRODUCTION_TOKEN|METAFLOW_ARGO_WORKFLOWS_(KUBERNETES|ENV_VARS)"
    r"|METAFLOW_(DEBUG|CONDA)_"
)
_OWNER = "METAFLOW_OWNER"
_NAMED = {_OWNER, "USER"}
"""Variables with the name of who deploys; some step code wants them to be there."""

_PARAMETERS_FILE = re.compile(r"(?<=metaflow\.plugins\.argo\.set_parameters )(\w+)")


def make_neutral(workflow_template: Json, flow: str, *, keep_resources: bool) -> Json:
    """Take out what AI Core has not, and what differs by machine, user and moment.

    Args:
        workflow_template: as Metaflow wrote it; stays as it is.
        flow: the flow's name.
        keep_resources: keep the containers' requests of cpu and memory.

    Raises:
        GeneratorError: it has what AI Core can't run; names all of it.
    """
    document: Json = _without_nulls(copy.deepcopy(workflow_template))
    if found := [*_refused(document["spec"])]:
        raise GeneratorError(
            f"The workflow template of {flow} has what SAP AI Core can't run: {', '.join(found)}.\n"
            "Remove the decorator or option of the flow that brings it."
        )
    metadata, spec = document["metadata"], document["spec"]
    _ask_for_required(metadata, spec)
    metadata.pop("namespace", None)
    metadata["name"] = metadata["name"].replace(".", "-")
    spec.pop("hooks", None)
    for part in (metadata, spec.get("workflowMetadata", {}), spec.get("podMetadata", {})):
        _forget_deployment(part)
    _collect_pull_secrets(spec)
    for template in spec["templates"]:
        if "container" in template:
            _neutral_step(template, keep_resources=keep_resources)
    return document


def _refused(spec: Json) -> Iterator[str]:
    yield from (what for key, what in _NOT_ON_AI_CORE.items() if spec.get(key))
    if spec.get("hooks"):
        yield "hooks"
    for template in spec["templates"]:
        kinds = {"resource", "http", "plugin", "script", "suspend", "daemon"} & template.keys()
        yield from (f"the {kind} template {template['name']}" for kind in sorted(kinds))
        if template.get("sidecars") or template.get("initContainers"):
            yield f"further containers of {template['name']}"
        if _patch(template).keys() - {"imagePullSecrets"}:
            yield f"a podSpecPatch of {template['name']}"


def _patch(template: Json) -> Json:
    patch: Json = json.loads(template.get("podSpecPatch") or "{}")
    return patch


def _collect_pull_secrets(spec: Json) -> None:
    """Let all pods have the secrets that patches give to them one by one, as AI Core knows it."""
    found = spec.get("imagePullSecrets", [])
    for template in spec["templates"]:
        found += _patch(template).get("imagePullSecrets", [])
        template.pop("podSpecPatch", None)
    if found:
        spec["imagePullSecrets"] = [{"name": n} for n in dict.fromkeys(s["name"] for s in found)]


def _ask_for_required(metadata: Json, spec: Json) -> None:
    """Let AI Core ask for parameters that have to be given: Metaflow gives them null."""
    known = json.loads(metadata.get("annotations", {}).get("metaflow/parameters", "{}"))
    for parameter in spec.get("arguments", {}).get("parameters", []):
        about = known.get(parameter["name"], {})
        if about.get("is_required") and parameter.get("value") == "null":
            del parameter["value"]


def _forget_deployment(part: Json) -> None:
    annotations = part.get("annotations", {})
    for name in _OF_A_DEPLOYMENT:
        annotations.pop(name, None)


def _neutral_step(template: Json, *, keep_resources: bool) -> None:
    container = template["container"]
    container.pop("name", None)
    container.pop("terminationMessagePolicy", None)
    for key in _OF_THE_CLUSTER:
        template.pop(key, None)
    if not keep_resources:
        container.pop("resources", None)
    # As AI Core has it: the program apart from its arguments.
    command = [_fixed_parameters_file(text) for text in container["command"]]
    container["command"], container["args"] = (
        command[:1],
        [
            *command[1:],
            *container.get("args", []),
        ],
    )
    container["env"] = [
        _neutral_variable(v) for v in container.get("env", []) if not _LEFT_OUT.match(v["name"])
    ]
    mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
    template["volumes"] = [v for v in template.get("volumes", []) if v["name"] in mounted]
    if not template["volumes"]:
        del template["volumes"]


def _fixed_parameters_file(text: str) -> str:
    """Give the file that hands over the parameters a name that is always the same."""
    if found := _PARAMETERS_FILE.search(text):
        return re.sub(rf"\b{found[1]}\b", "aicore_build_parameters", text)
    return text


def _neutral_variable(variable: Json) -> Json:
    if variable["name"] in _NAMED:
        return {**variable, "value": TOKEN}
    if variable["name"] == "METAFLOW_VERSION":
        about = json.loads(variable["value"])
        about = {k: v for k, v in about.items() if k not in ("username", "production_token")}
        return {**variable, "value": json.dumps(about, sort_keys=True)}
    return variable


def _without_nulls(part: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(part, dict):
        return {key: _without_nulls(value) for key, value in part.items() if value is not None}
    if isinstance(part, list):
        return [_without_nulls(value) for value in part if value is not None]
    return part
