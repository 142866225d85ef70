"""Workflow templates for the tests of lint: a sound one, and changes to it."""

import copy
from typing import Any

from aicore_build.workflow import Json

DIGEST = f"sha256:{'0123456789abcdef' * 4}"
GONE = object()
"""The value of a key that a change removes."""

Change = dict[tuple[str | int, ...], Any]
"""New values by path; what leads to them is made."""

METAFLOW = ("spec", "templates", 1)
CONTAINER = (*METAFLOW, "container")
BY_HAND = ("spec", "templates", 2)
HAND_CONTAINER = (*BY_HAND, "container")
TASKS = ("spec", "templates", 0, "dag", "tasks")


def sound() -> Json:
    """A DAG of a step of Metaflow, and of a container as it is written by hand."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowTemplate",
        "metadata": {
            "name": "trainflow",
            "labels": {"scenarios.ai.sap.com/id": "flats", "ai.sap.com/version": "1.0"},
            "annotations": {
                "scenarios.ai.sap.com/name": "Flat prices",
                "executables.ai.sap.com/name": "trainflow",
                "artifacts.ai.sap.com/prices.kind": "model",
                "artifacts.ai.sap.com/prices.labels": '{"ext.ai.sap.com/team": "data"}',
            },
        },
        "spec": {
            "entrypoint": "entry",
            "activeDeadlineSeconds": 3600,
            "imagePullSecrets": [{"name": "docker-registry-secret"}],
            "arguments": {"parameters": [{"name": "rounds", "value": "3"}]},
            "templates": [_entry(), _step(), _by_hand()],
        },
    }


def _entry() -> Json:
    given = [{"name": "rounds", "value": "{{workflow.parameters.rounds}}"}]
    index = {"name": "index", "value": "{{item}}"}
    return {
        "name": "entry",
        "dag": {
            "tasks": [
                {"name": "start", "template": "step", "arguments": {"parameters": given}},
                {
                    "name": "train",
                    "template": "by-hand",
                    "dependencies": ["start"],
                    "withParam": "{{tasks.start.outputs.parameters.splits}}",
                    "arguments": {"parameters": [index]},
                },
            ]
        },
    }


def _step() -> Json:
    return {
        "name": "step",
        "metadata": {"labels": {"ai.sap.com/resourcePlan": "starter"}},
        "inputs": {"parameters": [{"name": "rounds"}]},
        "outputs": {"parameters": [{"name": "splits", "valueFrom": {"path": "/tmp/splits"}}]},
        "container": {
            "image": f"docker.io/acme/train:v1@{DIGEST}",
            "command": ["bash"],
            "args": ["-c", "python flow.py --datastore=s3 step start --task-id {{pod.name}}"],
            "env": [{"name": "METAFLOW_USER", "value": "jane"}],
            "envFrom": [{"secretRef": {"name": "default-object-store-secret"}}],
            "resources": {"requests": {"cpu": 1, "ephemeral-storage": "10240Mi"}},
        },
    }


def _by_hand() -> Json:
    return {
        "name": "by-hand",
        "metadata": {"labels": {"ai.sap.com/resourcePlan": "train.l"}},
        "inputs": {
            "parameters": [{"name": "index"}],
            "artifacts": [{"name": "flats", "path": "/app/data/"}],
        },
        "outputs": {
            "artifacts": [
                {
                    "name": "model",
                    "globalName": "prices",
                    "path": "/app/model",
                    "archive": {"none": {}},
                }
            ]
        },
        "container": {
            "image": f"docker.io/acme/train:v1@{DIGEST}",
            "command": ["/bin/sh", "-c"],
            "args": ["python /app/train.py {{inputs.parameters.index}}"],
            "env": [{"name": "ROUNDS", "value": "{{=asInt(workflow.parameters.rounds) + 1}}"}],
        },
    }


def changed(change: Change) -> Json:
    """The sound one with changes."""
    document = copy.deepcopy(sound())
    for path, value in change.items():
        *way, last = path
        place: Any = document
        for part in way:
            place = place[part] if isinstance(part, int) else place.setdefault(part, {})
        if value is GONE:
            del place[last]
        elif isinstance(place, list) and last == len(place):
            place.append(copy.deepcopy(value))
        else:
            place[last] = copy.deepcopy(value)
    return document


def of_steps(count: int) -> Json:
    """A chain of many steps of Metaflow."""
    document = sound()
    tasks = document["spec"]["templates"][0]["dag"]["tasks"]
    for i in range(1, count):
        before = "start" if i == 1 else f"step-{i - 1}"
        value = f"{{{{tasks.{before}.outputs.parameters.splits}}}}"
        tasks.append(
            {
                "name": f"step-{i}",
                "template": f"step-{i}",
                "dependencies": [before],
                "arguments": {"parameters": [{"name": "rounds", "value": value}]},
            }
        )
        document["spec"]["templates"].append({**copy.deepcopy(_step()), "name": f"step-{i}"})
    return document
