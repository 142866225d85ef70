"""Every rule: what it finds, and what it leaves alone."""

import json
import re
import time
from typing import Any

import pytest

from aicore_build.errors import SettingsError
from aicore_build.lint import kubernetes, lint
from aicore_build.lint.finding import Severity
from aicore_build.lint.rules import BY_CODE, RULES, check_codes
from tests.unit.templates import (
    BY_HAND,
    CONTAINER,
    DIGEST,
    GONE,
    HAND_CONTAINER,
    METAFLOW,
    TASKS,
    Change,
    changed,
    of_steps,
    sound,
)

LABELS = ("metadata", "labels")
ANNOTATIONS = ("metadata", "annotations")
PLAN = ("metadata", "labels", "ai.sap.com/resourcePlan")
ARTIFACT = (*BY_HAND, "outputs", "artifacts", 0)
PARAMETERS = ("spec", "arguments", "parameters")
SECURITY = (*CONTAINER, "securityContext")
HAND_ENV = (*HAND_CONTAINER, "env", 0)
ARGS = (*HAND_CONTAINER, "args", 0)
TRAIN = (*TASKS, 1)
STEP_TEMPLATES = [
    {
        "name": "entry",
        "steps": [
            [{"name": "first", "template": "echo"}],
            [{"name": "second", "template": "echo"}, {"name": "third", "template": "echo"}],
        ],
    },
    {
        "name": "echo",
        "metadata": {"labels": {"ai.sap.com/resourcePlan": "starter"}},
        "outputs": {"parameters": [{"name": "said", "valueFrom": {"path": "/tmp/said"}}]},
        "container": {
            "image": f"docker.io/acme/echo:v1@{DIGEST}",
            "command": ["/bin/sh", "-c"],
            "args": ["echo {{workflow.parameters.rounds}}"],
        },
    },
]
AS_STEPS: Change = {
    ("spec", "templates"): STEP_TEMPLATES,
    (*ANNOTATIONS, "artifacts.ai.sap.com/prices.kind"): GONE,
    (*ANNOTATIONS, "artifacts.ai.sap.com/prices.labels"): GONE,
}
SECOND = ("spec", "templates", 0, "steps", 1, 0)
ARGUMENT = (*SECOND, "arguments")


def argument(value: str) -> dict[str, Any]:
    return {"parameters": [{"name": "x", "value": value}]}


def bad(code: str, change: Change, *where: str, says: str = "", id: str = "") -> Any:  # noqa: A002, ANN401
    return pytest.param(code, change, set(where), says, id=f"{code}-{id}" if id else code)


def good(code: str, change: Change, id: str) -> Any:  # noqa: A002, ANN401
    return pytest.param(code, change, id=f"{code}-{id}")


BAD = [
    bad("AIC001", {("apiVersion",): "v1", ("kind",): "Workflow"}, "apiVersion", "kind"),
    bad("AIC001", {("apiVersion",): GONE}, "apiVersion", says="missing", id="no version"),
    bad(
        "AIC001",
        {("metadata", "name"): GONE, ("metadata", "generateName"): "a-"},
        "metadata.name",
        says="generateName is not enough",
        id="generateName",
    ),
    bad("AIC001", {("metadata", "name"): 12345}, "metadata.name", says="no text", id="number"),
    bad("AIC002", {("metadata", "name"): "abc"}, "metadata.name", says="'abc'", id="3"),
    bad("AIC002", {("metadata", "name"): "a" * 65}, "metadata.name", id="65"),
    bad("AIC002", {("metadata", "name"): "Trainflow"}, "metadata.name", id="upper case"),
    bad("AIC002", {("metadata", "name"): "train.flow"}, "metadata.name", id="dot"),
    bad("AIC002", {("metadata", "name"): "trainflow-"}, "metadata.name", id="hyphen"),
    bad("AIC004", {(*LABELS, "scenarios.ai.sap.com/id"): GONE}, "metadata.labels.scenarios.ai.sap.com/id", says="missing"),
    bad("AIC004", {(*LABELS, "scenarios.ai.sap.com/id"): "abc"}, "metadata.labels.scenarios.ai.sap.com/id", says="4 to 63", id="3"),
    bad("AIC005", {(*LABELS, "ai.sap.com/version"): GONE}, "metadata.labels.ai.sap.com/version", says="missing"),
    bad("AIC005", {(*LABELS, "ai.sap.com/version"): "  "}, "metadata.labels.ai.sap.com/version", says="empty", id="empty"),
    bad("AIC006", {(*ANNOTATIONS, "scenarios.ai.sap.com/name"): GONE}, "metadata.annotations.scenarios.ai.sap.com/name"),
    bad("AIC006", {(*ANNOTATIONS, "executables.ai.sap.com/name"): ""}, "metadata.annotations.executables.ai.sap.com/name", says="empty", id="empty"),
    bad("AIC006", {(*ANNOTATIONS, "scenarios.ai.sap.com/name"): "x" * 257}, "metadata.annotations.scenarios.ai.sap.com/name", says="257", id="257"),
    bad("AIC007", {(*ANNOTATIONS, "scenarios.ai.sap.com/description"): "x" * 5001}, "metadata.annotations.scenarios.ai.sap.com/description"),
    bad("AIC008", {(*LABELS, "executables.ai.sap.com/id"): "other"}, "metadata.labels.executables.ai.sap.com/id", says="'other'"),
    bad("AIC009", {(*BY_HAND, "metadata"): GONE}, "spec.templates[2]", says="by-hand"),
    bad("AIC010", {(*BY_HAND, *PLAN): "Starter"}, "spec.templates[2].metadata.labels.ai.sap.com/resourcePlan", says="'Starter'"),
    bad("AIC010", {("spec", "podMetadata", "labels"): {"ai.sap.com/resourcePlan": "huge"}}, "spec.podMetadata.labels.ai.sap.com/resourcePlan", id="of all pods"),
    bad("AIC011", {(*METAFLOW, "metadata", "labels", "ai.sap.com/instanceType"): "g4"}, "spec.templates[1].metadata.labels.ai.sap.com/instanceType"),
    bad("AIC012", {(*BY_HAND, "inputs", "artifacts", 0, "name"): GONE}, "spec.templates[2].inputs.artifacts[0]", says="inputs"),
    bad("AIC012", {(*ARTIFACT, "name"): GONE}, "spec.templates[2].outputs.artifacts[0]", says="outputs", id="output"),
    bad("AIC013", {(*BY_HAND, "outputs", "artifacts", 1): {"name": "log", "path": "/log", "archive": {"none": {}}}}, "spec.templates[2].outputs.artifacts[1]", says="log"),
    bad("AIC014", {(*ANNOTATIONS, "artifacts.ai.sap.com/price.kind"): "model"}, "metadata.annotations.artifacts.ai.sap.com/price.kind", says="flats, prices"),
    bad("AIC014", {(*ANNOTATIONS, "artifacts.ai.sap.com/model.name"): "x"}, "metadata.annotations.artifacts.ai.sap.com/model.name", id="name of an output"),
    *(
        bad("AIC015", {(*ANNOTATIONS, "artifacts.ai.sap.com/prices.labels"): text}, "metadata.annotations.artifacts.ai.sap.com/prices.labels", says=says, id=says)
        for text, says in (
            ("team: data", "no JSON"),
            ("[]", "not an object"),
            ('{"team": "data"}', "'team'"),
            ('{"ext.ai.sap.com/a b": "data"}', "a b"),
            (f'{{"ext.ai.sap.com/{"x" * 242}": ""}}', "the key"),
            ('{"ext.ai.sap.com/team": 1}', "whole number"),
            (f'{{"ext.ai.sap.com/team": "{"x" * 5001}"}}', "5001"),
        )
    ),
    bad("AIC016", {(*ARTIFACT, "archive"): GONE}, "spec.templates[2].outputs.artifacts[0]", says="tar.gz"),
    bad("AIC017", {(*ARTIFACT, "s3"): {"key": "x"}}, "spec.templates[2].outputs.artifacts[0].s3"),
    bad("AIC017", {("spec", "artifactRepositoryRef"): {"key": "x"}}, "spec.artifactRepositoryRef", id="repository"),
    bad("AIC018", {(*HAND_CONTAINER, "command"): GONE}, "spec.templates[2].container.command", says="by-hand has no command"),
    bad("AIC018", {(*HAND_CONTAINER, "args"): [], ("spec", "templates", 2, "inputs", "parameters"): [], (*TRAIN, "arguments"): GONE}, "spec.templates[2].container.args", says="no args", id="args"),
    bad("AIC018", {(*BY_HAND, "initContainers"): [{"name": "fetch", "image": f"docker.io/a/b@{DIGEST}", "command": ["x"]}]}, "spec.templates[2].initContainers[0].args", says="container fetch", id="init"),
    *(
        bad("AIC019", {(*SECURITY, key): value}, f"spec.templates[1].container.securityContext.{key}", id=key)
        for key, value in (("runAsUser", 0), ("runAsGroup", 1000), ("runAsNonRoot", False), ("allowPrivilegeEscalation", True), ("privileged", True))
    ),
    bad("AIC019", {(*SECURITY, "capabilities"): {"drop": ["ALL"], "add": ["NET_ADMIN"]}}, "spec.templates[1].container.securityContext.capabilities.drop", "spec.templates[1].container.securityContext.capabilities.add", id="capabilities"),
    bad("AIC019", {("spec", "securityContext"): {"runAsUser": 1000}}, "spec.securityContext.runAsUser", id="spec"),
    bad("AIC019", {(*METAFLOW, "securityContext"): {"runAsNonRoot": 1}}, "spec.templates[1].securityContext.runAsNonRoot", id="template"),
    *(
        bad("AIC020", {("spec", "imagePullSecrets"): [{"name": name}]}, "spec.imagePullSecrets[0].name", id=repr(name)[:9])
        for name in ("<secret>", "Upper", "a", "a__b", "_a", "a-", "x" * 64, None)
    ),
    *(
        bad("AIC021", {(*HAND_CONTAINER, "image"): image}, "spec.templates[2].container.image", says=says, id=image[:30])
        for image, says in (
            ("docker.io/acme/train:v1", "the tag v1 and no digest"),
            ("docker.io/acme/train", "neither a tag nor a digest"),
            (f"acme/train:v1@{DIGEST}", "names no registry"),
            ("python:latest", "names no registry and has the tag latest"),
            ("docker.io/<YOU>/train:1", "no image reference"),
        )
    ),
    bad("AIC022", {("spec", "activeDeadlineSeconds"): GONE}, "spec.activeDeadlineSeconds", says="step, by-hand"),
    bad("AIC023", {(*BY_HAND, "sidecars"): [{"name": "db", "image": f"docker.io/a/b@{DIGEST}", "command": ["x"], "args": ["y"]}]}, "spec.templates[2].sidecars[0]", says="'db'"),
    bad("AIC023", {(*BY_HAND, "container"): GONE, (*BY_HAND, "containerSet", "containers"): [{"name": f"readable-{i}", "image": f"docker.io/a/b@{DIGEST}", "command": ["x"], "args": ["{{inputs.parameters.index}}"]} for i in range(2)]}, "spec.templates[2].containerSet.containers", says="main", id="set"),
    bad("AIC024", {(*CONTAINER, "resources", "requests", "ephemeral-storage"): "20Gi"}, "spec.templates[1].container.resources.requests.ephemeral-storage", says="20Gi"),
    *(
        bad("AIC024", {(*CONTAINER, "resources", "requests", "ephemeral-storage"): size}, "spec.templates[1].container.resources.requests.ephemeral-storage", id=size)
        for size in ("10241Mi", "10485761Ki", "1Ti", "10737419k", "10738M", "11G", "1T", "10737418241")
    ),
    bad("AIC025", {(*HAND_CONTAINER, "envFrom"): [{"secretRef": {"name": "default-object-store-secret"}}]}, "spec.templates[2].container.envFrom[0].secretRef.name"),
    bad("AIC025", {(*HAND_CONTAINER, "env", 1): {"name": "K", "valueFrom": {"secretKeyRef": {"name": "x-object-store-secret", "key": "k"}}}}, "spec.templates[2].container.env[1].valueFrom.secretKeyRef.name", id="variable"),
    bad("AIC026", {(*METAFLOW, "outputs", "parameters", 1): {"name": "AICORE_ARTIFACT_SIGNATURES", "value": "x"}}, "spec.templates[1].outputs.parameters[1]"),
    bad("AIC027", {(*PARAMETERS, 0, "value"): 0.2}, "spec.arguments.parameters[0].value", says="'rounds' is a number"),
    bad("AIC027", {(*PARAMETERS, 1): {"name": "x" * 257}}, "spec.arguments.parameters[1].name", says="257", id="name"),
    bad("AIC027", {(*PARAMETERS, 0, "default"): "x" * 5001}, "spec.arguments.parameters[0].default", says="5001", id="long"),
    bad("AIC029", {(*HAND_CONTAINER, "env", 1): {"name": "DB_PASSWORD", "value": "hunter2"}}, "spec.templates[2].container.env[1].value", says="DB_PASSWORD has its value written out"),
    bad("AIC029", {(*PARAMETERS, 0, "value"): "hunter2", (*PARAMETERS, 0, "name"): "token", (*TASKS, 0, "arguments", "parameters", 0, "value"): "{{workflow.parameters.token}}", HAND_ENV: {"name": "A", "value": "b"}}, "spec.arguments.parameters[0].value", id="parameter"),
    *(
        bad("AIC029", {ARGS: f"python x.py {{{{inputs.parameters.index}}}} {text}"}, "spec.templates[2].container.args[0]", says=says, id=says)
        for text, says in (
            ("AKIA" + "ABCDEFGHIJKLMNOP", "an AWS access key"),
            ("-----BEGIN RSA PRIVATE KEY-----", "a private key"),
            ("ghp_" + "a" * 36, "GitHub"),
            ("glpat-" + "a" * 20, "GitLab"),
            ("xoxb-" + "1" * 12, "Slack"),
            ("eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.c2lnbmF0dXJl", "web token"),
            ("postgres://jane:hunter2@db/x", "a password in an address"),
            ('{"x-api-key": "hunter2"}', "an API key"),
        )
    ),
    bad("AIC030", {("spec", "serviceAccountName"): "x"}, "spec.serviceAccountName"),
    bad("AIC030", {("spec", "hostNetwork"): True, ("spec", "volumes"): [{"name": "v", "hostPath": {"path": "/"}}]}, "spec.hostNetwork", "spec.volumes[0].hostPath", id="host"),
    bad("AIC030", {(*BY_HAND, "container"): GONE, (*BY_HAND, "http"): {"url": "{{inputs.parameters.index}}"}}, "spec.templates[2].http", id="http"),
    bad("AIC030", {(*HAND_CONTAINER, "resources"): {"limits": {"cpu": "1"}}}, "spec.templates[2].container.resources", says="by-hand", id="resources"),
    bad("AIC031", {(*CONTAINER, "envFrom"): GONE}, "spec.templates[1].container.envFrom", says="step has no secret"),
    bad("AIC033", {(*ANNOTATIONS, "artifacts.ai.sap.com/prices.kind"): "Model"}, "metadata.annotations.artifacts.ai.sap.com/prices.kind", says="'Model'"),
    bad("AIC033", {(*ANNOTATIONS, "artifacts.ai.sap.com/flats.kind"): "table"}, "metadata.annotations.artifacts.ai.sap.com/flats.kind", id="input"),
    bad("ARG001", {("spec", "entrypoint"): "entri"}, "spec.entrypoint", says="Did you mean entry?"),
    bad("ARG001", {("spec", "entrypoint"): GONE}, "spec.entrypoint", says="missing", id="missing"),
    bad("ARG002", {(*TRAIN, "template"): "by-hands"}, "spec.templates[0].dag.tasks[1].template", says="Did you mean by-hand?"),
    bad("ARG002", {(*TRAIN, "template"): GONE}, "spec.templates[0].dag.tasks[1]", says="no template, templateRef or inline", id="none"),
    bad("ARG002", {(*TRAIN, "templateRef"): {"name": "x"}}, "spec.templates[0].dag.tasks[1]", "spec.templates[0].dag.tasks[1].templateRef", id="two"),
    bad("ARG002", {("spec", "onExit"): "bye"}, "spec.onExit", says="'bye'", id="onExit"),
    bad("ARG002", {(*TRAIN, "hooks"): {"exit": {"template": "bye"}}}, "spec.templates[0].dag.tasks[1].hooks.exit.template", id="hook"),
    bad("ARG003", {(*TRAIN, "dependencies", 1): "strat"}, "spec.templates[0].dag.tasks[1].dependencies[1]", says="Did you mean start?"),
    bad("ARG003", {(*TRAIN, "dependencies"): GONE, (*TRAIN, "depends"): "start && (nobody.Succeeded || start.Failed)"}, "spec.templates[0].dag.tasks[1].depends", says="'nobody'", id="depends"),
    bad("ARG003", {(*TASKS, 2): {"name": "end", "template": "step", "depends": "train", "arguments": {"parameters": [{"name": "rounds", "value": "1"}]}}}, "spec.templates[0].dag", says="both", id="both"),
    bad("ARG004", {(*TASKS, 0, "dependencies"): ["train"]}, "spec.templates[0].dag", says="start, train"),
    bad("ARG004", {(*TRAIN, "dependencies", 1): "train"}, "spec.templates[0].dag", says=": train", id="itself"),
    *(
        bad("ARG005", {ARGS: f"{{{{inputs.parameters.index}}}} {tag}"}, "spec.templates[2].container.args[0]", says=says, id=tag)
        for tag, says in (
            ("{{workflow.parameters.round}}", "spec.arguments.parameters"),
            ("{{ inputs.parameters.indx }}", "the inputs of by-hand"),
            ("{{inputs.artifacts.flat.path}}", "no such artifact"),
            ("{{outputs.artifacts.modl.path}}", "the outputs of by-hand"),
            ("{{tasks.start.outputs.result}}", "no tasks here"),
            ("{{item}}", "pass it on as an input"),
        )
    ),
    *(
        bad("ARG005", {(*TRAIN, "when"): f"{tag} == 1"}, "spec.templates[0].dag.tasks[1].when", says=says, id=tag)
        for tag, says in (
            ("{{tasks.strat.outputs.result}}", "a task that is not there"),
            ("{{tasks.train.outputs.result}}", "not done before"),
            ("{{steps.start.outputs.result}}", "no steps here"),
            ("{{tasks.start.outputs.parameters.split}}", "step has no such output"),
            ("{{tasks.start.outputs.artifacts.splits}}", "step has no such output"),
            ("{{tasks.start.output.result}}", "no output.result"),
            ("{{tasks.start.outputs}}", "outputs.result"),
            ("{{tasks.start}}", "no value"),
        )
    ),
    bad("ARG005", {(*TRAIN, "dependencies"): GONE}, "spec.templates[0].dag.tasks[1].withParam", says="not done before", id="no dependency"),
    bad("ARG005", {(*TRAIN, "withParam"): GONE}, "spec.templates[0].dag.tasks[1].arguments.parameters[0].value", says="withItems", id="no loop"),
    bad("ARG005", {("spec", "templates", 0, "outputs"): {"parameters": [{"name": "x", "valueFrom": {"parameter": "{{tasks.nobody.outputs.result}}"}}]}}, "spec.templates[0].outputs.parameters[0].valueFrom.parameter", id="output"),
    bad("ARG005", {**AS_STEPS, ARGUMENT: argument("{{steps.third.outputs.parameters.said}}")}, "spec.templates[0].steps[1][0].arguments.parameters[0].value", says="not done before", id="same group"),
    bad("ARG005", {**AS_STEPS, ARGUMENT: argument("{{steps.first.outputs.parameters.sad}}")}, "spec.templates[0].steps[1][0].arguments.parameters[0].value", says="echo has no such output", id="steps"),
    bad("ARG005", {(*TRAIN, "template"): GONE, (*TRAIN, "inline"): {"inputs": {}, "metadata": {"labels": {"ai.sap.com/resourcePlan": "basic"}}, "container": {"image": f"docker.io/a/b@{DIGEST}", "command": ["x"], "args": ["{{inputs.parameters.index}}"]}}}, "spec.templates[0].dag.tasks[1].inline.container.args[0]", id="inline"),
    bad("ARG006", {(*PARAMETERS, 1): {"name": "depth"}}, "spec.arguments.parameters[1]", says="'depth'"),
    bad("ARG006", {(*PARAMETERS, 1): {"name": "round"}}, "spec.arguments.parameters[1]", says="'round'", id="begins alike"),
    bad("ARG006", {ARGS: "python x.py"}, "spec.templates[2].inputs.parameters[0]", says="by-hand doesn't use its input 'index'", id="input"),
    bad("ARG007", {(*TRAIN, "arguments"): GONE}, "spec.templates[0].dag.tasks[1]", says="'index' of by-hand"),
    bad("ARG008", {("spec", "templates", 0, "inputs"): {"parameters": [{"name": "depth"}]}, (*TRAIN, "when"): "{{inputs.parameters.depth}} > 1"}, "spec.templates[0].inputs.parameters[0]", says="'depth'"),
    bad("ARG009", {("spec", "templates", 3): changed({})["spec"]["templates"][1]}, "spec.templates[3]", says="template step"),
    bad("ARG009", {(*PARAMETERS, 1): {"name": "rounds"}}, "spec.arguments.parameters[1]", says="parameter rounds", id="parameter"),
    bad("ARG009", {(*BY_HAND, "inputs", "artifacts", 1): {"name": "flats", "path": "/x"}}, "spec.templates[2].inputs.artifacts[1]", says="input artifact flats", id="artifact"),
    bad("ARG009", {(*TRAIN, "arguments", "parameters", 1): {"name": "index", "value": "1"}}, "spec.templates[0].dag.tasks[1].arguments.parameters[1]", id="argument"),
    bad("ARG009", {(*TASKS, 2): {"name": "start", "template": "step", "arguments": {"parameters": [{"name": "rounds", "value": "1"}]}}}, "spec.templates[0].dag.tasks[2]", says="task start", id="task"),
    bad("ARG002", {**AS_STEPS, SECOND: "echo"}, "spec.templates[0].steps[1][0]", says="is text, not a table", id="text"),
    bad("ARG009", {**AS_STEPS, (*SECOND, "name"): "first"}, "spec.templates[0].steps[1][0]", says="step first", id="step"),
    bad("ARG010", {("spec", "templates", 3): {"name": "a_b", "suspend": {}}}, "spec.templates[3].name", says="'a_b'"),
    bad("ARG010", {("spec", "templates", 3): {"suspend": {}}}, "spec.templates[3]", says="no name", id="none"),
    bad("ARG010", {("spec", "templates", 3): {"name": "a" * 129, "suspend": {}}}, "spec.templates[3].name", id="129"),
    bad("ARG010", {(*BY_HAND, "outputs", "parameters"): [{"name": "a b", "value": "x"}]}, "spec.templates[2].outputs.parameters[0].name", id="parameter"),
    bad("ARG011", {(*METAFLOW, "suspend"): {}}, "spec.templates[1]", says="container, suspend"),
    bad("ARG011", {("spec", "templates", 3): {"name": "nothing"}}, "spec.templates[3]", says="nothing to run", id="nothing"),
    bad("ARG012", {ARGS: "{{inputs.parameters.index}} {{ .Names }}"}, "spec.templates[2].container.args[0]"),
    bad("ARG012", {ARGS: "{{inputs.parameters.index}} {{workflow.nam}}"}, "spec.templates[2].container.args[0]", says="workflow.nam", id="workflow"),
    bad("ARG013", {ARGS: "{{inputs.parameters.index}} {{"}, "spec.templates[2].container.args[0]"),
    bad("KUB001", {(*LABELS, "team"): "a b"}, "metadata.labels.team", says="'a b'"),
    bad("KUB001", {(*LABELS, "team"): True}, "metadata.labels.team", says="true or false", id="bool"),
    bad("KUB001", {(*LABELS, "te am"): "a"}, "metadata.labels.te am", id="key"),
    bad("KUB001", {("spec", "workflowMetadata", "labels"): {"a": "b" * 64}}, "spec.workflowMetadata.labels.a", id="workflow"),
    bad("KUB001", {(*METAFLOW, "metadata", "labels", "user"): "jane@example.com"}, "spec.templates[1].metadata.labels.user", id="pod"),
    bad("KUB002", {(*ANNOTATIONS, "a"): 1}, "metadata.annotations.a", says="whole number"),
    bad("KUB002", {(*ANNOTATIONS, "a:b"): "x"}, "metadata.annotations.a:b", id="key"),
    bad("KUB002", {(*ANNOTATIONS, "a"): "x" * 256 * 1024}, "metadata.annotations", says="bytes", id="size"),
    bad("KUB002", {("spec", "podMetadata", "annotations"): ["x"]}, "spec.podMetadata.annotations", says="no table", id="list"),
    bad("KUB003", {(*HAND_ENV, "name"): "1A"}, "spec.templates[2].container.env[0].name", says="'1A'"),
    bad("KUB003", {(*HAND_ENV, "name"): GONE}, "spec.templates[2].container.env[0].name", says="missing", id="none"),
    bad("KUB004", {(*HAND_ENV, "value"): 3}, "spec.templates[2].container.env[0].value", says="ROUNDS of by-hand is a whole number"),
    bad("KUB004", {(*HAND_ENV, "value"): False}, "spec.templates[2].container.env[0].value", id="false"),
    bad("KUB005", {(*HAND_CONTAINER, "env", 1): {"name": "ROUNDS", "value": "1"}}, "spec.templates[2].container.env[1]", says="ROUNDS twice"),
    bad("KUB006", {("spec", "templates", 3): {"name": "long", "suspend": {"duration": "1" * 1024 * 1024}}}, "the document", says="bytes"),
    bad("KUB007", {ARGS: "{{inputs.parameters.index}}" + "x" * 131072}, "spec.templates[2].container.args[0]", says="by-hand"),
    bad("KUB007", {(*HAND_ENV, "value"): "é" * 65536}, "spec.templates[2].container.env[0]", id="variable"),
    bad("KUB008", {(*HAND_CONTAINER, "volumeMounts"): [{"name": "data", "mountPath": "/data"}]}, "spec.templates[2].container.volumeMounts[0]", says="'data'"),
    bad("KUB009", {(*CONTAINER, "resources", "requests", "memory"): "10GB"}, "spec.templates[1].container.resources.requests.memory", says="'10GB'"),
    bad("KUB009", {(*CONTAINER, "resources", "limits"): {"cpu": True}}, "spec.templates[1].container.resources.limits.cpu", id="bool"),
]  # fmt: skip

GOOD = [
    good("AIC001", {("metadata", "generateName"): "a-"}, "both names"),
    good("AIC002", {("metadata", "name"): "a1-b"}, "4"),
    good("AIC002", {("metadata", "name"): "a" * 64}, "64"),
    good("AIC004", {(*LABELS, "scenarios.ai.sap.com/id"): "a" * 63}, "63"),
    good("AIC005", {(*LABELS, "ai.sap.com/version"): "1.0.0"}, "three parts"),
    good("AIC006", {(*ANNOTATIONS, "scenarios.ai.sap.com/name"): "x" * 256}, "256"),
    good("AIC007", {(*ANNOTATIONS, "scenarios.ai.sap.com/description"): "x" * 5000}, "5000"),
    good("AIC008", {(*LABELS, "executables.ai.sap.com/id"): "trainflow"}, "the name"),
    good("AIC009", {("spec", "podMetadata", "labels"): {"ai.sap.com/resourcePlan": "basic"}, (*BY_HAND, "metadata"): GONE}, "of all pods"),
    good("AIC010", {(*BY_HAND, *PLAN): "basic.8x"}, "8x"),
    good("AIC010", {(*BY_HAND, *PLAN): "{{workflow.parameters.rounds}}"}, "substituted"),
    good("AIC011", {(*METAFLOW, "metadata", "labels", "instanceType"): "g4"}, "another label"),
    good("AIC012", {(*BY_HAND, "outputs", "parameters"): [{"name": "x", "value": "y"}]}, "parameter"),
    good("AIC013", {(*ARTIFACT, "globalName"): GONE, (*ANNOTATIONS, "artifacts.ai.sap.com/prices.kind"): GONE, (*ANNOTATIONS, "artifacts.ai.sap.com/prices.labels"): GONE, ("spec", "templates", 0, "outputs"): {"artifacts": [{"name": "m", "globalName": "prices", "archive": {"none": {}}, "from": "{{tasks.train.outputs.artifacts.model}}"}]}}, "read by another"),
    good("AIC014", {(*ANNOTATIONS, "artifacts.ai.sap.com/flats.kind"): "dataset"}, "input"),
    good("AIC015", {(*ANNOTATIONS, "artifacts.ai.sap.com/prices.labels"): f'{{"ext.ai.sap.com/{"x" * 241}": "{"x" * 5000}"}}'}, "256 and 5000"),
    good("AIC016", {(*ARTIFACT, "archive"): {"tar": {"compressionLevel": 9}}}, "tar on purpose"),
    good("AIC017", {(*BY_HAND, "inputs", "artifacts", 0, "s3"): {"key": "x"}}, "input"),
    good("AIC018", {(*BY_HAND, "container"): GONE, (*BY_HAND, "script"): {"image": f"docker.io/a/b@{DIGEST}", "command": ["python"], "source": "{{inputs.parameters.index}}"}}, "script"),
    good("AIC018", {("spec", "templateDefaults"): {"container": {"command": ["sh"]}}, (*HAND_CONTAINER, "command"): GONE}, "default"),
    good("AIC019", {SECURITY: {"runAsUser": 65534, "runAsGroup": 65534, "runAsNonRoot": True, "allowPrivilegeEscalation": False, "privileged": False, "capabilities": {"drop": ["all"]}}}, "as enforced"),
    good("AIC020", {("spec", "imagePullSecrets"): [{"name": "a_b.c-1"}, {"name": "x" * 63}]}, "pattern"),
    good("AIC020", {("spec", "imagePullSecrets"): GONE}, "public images"),
    good("AIC021", {(*HAND_CONTAINER, "image"): f"localhost:5000/a@{DIGEST}"}, "port"),
    good("AIC021", {(*HAND_CONTAINER, "image"): "{{workflow.parameters.rounds}}"}, "substituted"),
    good("AIC022", {("spec", "activeDeadlineSeconds"): GONE, (*METAFLOW, "activeDeadlineSeconds"): 5, (*BY_HAND, "activeDeadlineSeconds"): "9"}, "of each step"),
    good("AIC023", {(*BY_HAND, "sidecars"): [{"name": "readable-db", "image": f"docker.io/a/b@{DIGEST}", "command": ["x"], "args": ["y"]}]}, "readable"),
    good("AIC023", {(*BY_HAND, "container"): GONE, (*BY_HAND, "containerSet", "containers"): [{"name": name, "image": f"docker.io/a/b@{DIGEST}", "command": ["x"], "args": ["{{inputs.parameters.index}}"]} for name in ("main", "readable-b")]}, "set"),
    *(
        good("AIC024", {(*CONTAINER, "resources", "requests", "ephemeral-storage"): size}, str(size))
        for size in ("10.0Gi", "10485760Ki", "10737418k", "10737M", "10G", 10737418240, "{{x}}")
    ),
    good("AIC023", {(*BY_HAND, "container"): GONE, (*BY_HAND, "containerSet", "containers"): [{"name": "only", "image": f"docker.io/a/b@{DIGEST}", "command": ["x"], "args": ["{{inputs.parameters.index}}"]}]}, "alone"),
    good("AIC025", {(*HAND_CONTAINER, "envFrom"): [{"secretRef": {"name": "my-own"}}]}, "generic secret"),
    good("AIC026", {(*METAFLOW, "outputs", "parameters", 1): {"name": "AICORE_ARTIFACT_SIGNATURES", "valueFrom": {"path": "/x"}}}, "path"),
    good("AIC027", {(*PARAMETERS, 0, "value"): "x" * 5000}, "5000"),
    good("AIC027", {(*PARAMETERS, 1): {"name": "x" * 256}}, "256"),
    good("AIC027", {(*PARAMETERS, 0, "value"): GONE}, "bound later"),
    *(
        good("AIC029", {HAND_ENV: {"name": "DB_PASSWORD", "value": value}}, value or "empty")
        for value in ("", "{{workflow.parameters.rounds}}", "$(SECRET)", "${SECRET}", "/run/secret", "100", "true", "<yours>")
    ),
    good("AIC029", {HAND_ENV: {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}}, "from a secret"),
    good("AIC029", {HAND_ENV: {"name": "TOKEN_URL", "value": "https://example.com/a@b"}}, "address"),
    good("AIC029", {HAND_ENV: {"name": "DB", "value": "postgres://jane:$PASSWORD@db/x"}}, "password by a variable"),
    good("AIC030", {("spec", "volumes"): [{"name": "v", "emptyDir": {}}], ("spec", "hostNetwork"): False}, "emptyDir"),
    good("AIC031", {(*CONTAINER, "envFrom", 0, "secretRef", "name"): "my-s3"}, "another name"),
    good("AIC031", {(*CONTAINER, "envFrom"): GONE, (*CONTAINER, "env", 1): {"name": "AWS_ACCESS_KEY_ID", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}}, "by key"),
    good("AIC033", {(*ANNOTATIONS, "artifacts.ai.sap.com/flats.kind"): "resultset"}, "resultset"),
    good("ARG001", {("spec", "entrypoint"): "entry"}, "there"),
    good("ARG002", {(*TRAIN, "template"): GONE, (*TRAIN, "templateRef"): {"name": "x", "template": "y"}}, "templateRef"),
    good("ARG002", {("spec", "onExit"): "bye", ("spec", "templates", 3): {"name": "bye", "suspend": {}}}, "onExit"),
    good("ARG003", {(*TRAIN, "dependencies"): GONE, (*TRAIN, "depends"): "start.Succeeded || !start.Failed"}, "depends"),
    good("ARG004", {(*TASKS, 2): {"name": "end", "template": "step", "dependencies": ["train", "start"], "arguments": {"parameters": [{"name": "rounds", "value": "1"}]}}}, "diamond"),
    *(
        good("ARG005", {(*TRAIN, "when"): f"{tag} == 1"}, tag)
        for tag in (
            "{{=tasks.nobody.outputs.result}}", "{{ tasks.start.outputs.result }}", "{{tasks.start.status}}",
            "{{tasks.start.outputs.parameters}}", "{{tasks.start.exitCode}}", "{{item.x}}", "{{workflow.parameters}}",
            "{{workflow.status}}", "{{workflow.labels.a.b}}", "{{workflow.creationTimestamp.Y}}", "{{tasks.name}}",
        )
    ),
    *(
        good("ARG005", {ARGS: f"{{{{inputs.parameters.index}}}} {tag}"}, tag)
        for tag in ("{{inputs.artifacts.flats.path}}", "{{outputs.artifacts.model.path}}", "{{pod.name}}", "{{retries}}", "{{inputs.parameters}}")
    ),
    good("ARG005", {(*TRAIN, "hooks"): {"exit": {"template": "step", "arguments": argument("{{tasks.train.status}}"), "expression": "true"}}}, "hook"),
    good("ARG005", {**AS_STEPS, ARGUMENT: argument("{{steps.first.outputs.parameters.said}}")}, "steps"),
    good("ARG005", {(*TRAIN, "template"): GONE, (*TRAIN, "inline"): {"suspend": {"duration": "{{item}}"}}}, "item inline"),
    good("ARG006", {(*TASKS, 0, "arguments", "parameters", 0, "value"): "1"}, "in an expression"),
    good("ARG006", {(*TASKS, 0, "arguments", "parameters", 0, "value"): "1", (*HAND_ENV, "value"): "{{workflow.parameters}}"}, "all"),
    good("ARG006", {(*TASKS, 0, "arguments", "parameters", 0, "value"): "1", (*HAND_ENV, "value"): "{{=workflow.parameters['rounds']}}"}, "by key"),
    good("ARG006", {(*PARAMETERS, 1): {"name": "depth"}, ("spec", "templates", 0, "inputs"): {"parameters": [{"name": "depth"}]}, (*TRAIN, "when"): "{{inputs.parameters.depth}} > 1"}, "the entrypoint's"),
    good("ARG007", {(*TRAIN, "arguments"): GONE, (*BY_HAND, "inputs", "parameters", 0, "default"): "0"}, "default"),
    good("ARG008", {(*PARAMETERS, 1): {"name": "depth"}, ("spec", "templates", 0, "inputs"): {"parameters": [{"name": "depth"}]}, (*TRAIN, "when"): "{{inputs.parameters.depth}} > 1"}, "declared"),
    good("ARG009", {(*BY_HAND, "outputs", "parameters"): [{"name": "index", "value": "x"}]}, "input and output"),
    good("ARG010", {(*BY_HAND, "outputs", "parameters"): [{"name": "a_b", "value": "x"}]}, "parameter"),
    good("ARG011", {("spec", "templates", 3): {"name": "wait", "suspend": None}}, "suspend: null"),
    good("ARG012", {ARGS: "{{inputs.parameters.index}} {{lastRetry.exitCode}}"}, "lastRetry"),
    good("ARG013", {ARGS: "}} {{inputs.parameters.index}}"}, "closed"),
    good("KUB001", {(*LABELS, "example.com/team"): ""}, "empty"),
    good("KUB001", {(*METAFLOW, "metadata", "labels", "run"): "{{workflow.name}}"}, "substituted"),
    good("KUB002", {(*ANNOTATIONS, "a"): "x: {y}"}, "any text"),
    good("KUB003", {(*HAND_ENV, "name"): "a.B-c_1"}, "characters"),
    good("KUB004", {(*HAND_ENV, "value"): "3"}, "quoted"),
    good("KUB004", {(*HAND_ENV, "value"): GONE}, "none"),
    good("KUB005", {(*HAND_CONTAINER, "env", 1): {"name": "METAFLOW_USER", "value": "1"}}, "in two containers"),
    good("KUB006", {("spec", "templates", 3): {"name": "long", "suspend": {"duration": "1" * 1000 * 1000}}}, "under 1 MiB"),
    good("KUB007", {ARGS: "{{inputs.parameters.index}}" + "x" * (131071 - 27)}, "131071"),
    good("KUB008", {(*HAND_CONTAINER, "volumeMounts"): [{"name": "data", "mountPath": "/data"}], ("spec", "volumeClaimTemplates"): [{"metadata": {"name": "data"}}]}, "claim"),
    good("KUB009", {(*CONTAINER, "resources", "requests"): {"cpu": 0.5, "memory": "1.5Gi", "a": "500m", "b": "1e3"}}, "units"),
]  # fmt: skip

OF_SEVERAL = {"AIC003", "AIC028", "AIC032", "ARG101", "ARG102"}
"""Not of one workflow template: in the tests of documents, files and structure."""


def found(change: Change) -> set[tuple[str, str]]:
    return {(finding.code, finding.where) for finding in lint(changed(change))}


def test_a_sound_one_has_no_finding() -> None:
    assert lint(sound()) == ()


@pytest.mark.parametrize(("code", "change", "where", "says"), BAD)
def test_what_is_wrong_is_found(code: str, change: Change, where: set[str], says: str) -> None:
    findings = [finding for finding in lint(changed(change)) if finding.code == code]
    assert {finding.where for finding in findings} == where
    assert any(says in finding.message for finding in findings)
    rule = BY_CODE[code]
    for finding in findings:
        assert (finding.severity, finding.why, finding.fix) == (rule.severity, rule.why, rule.fix)


@pytest.mark.parametrize(("code", "change"), GOOD)
def test_what_is_right_is_left_alone(code: str, change: Change) -> None:
    assert code not in {found_code for found_code, _ in found(change)}


def test_every_rule_has_a_passing_and_a_failing_example() -> None:
    of_one = BY_CODE.keys() - OF_SEVERAL
    assert {case.values[0] for case in BAD} == of_one
    assert {case.values[0] for case in GOOD} == of_one


def test_a_float_for_a_version_is_said_to_be_one() -> None:
    (finding,) = (
        f for f in lint(changed({(*LABELS, "ai.sap.com/version"): 1.0})) if f.code == "AIC005"
    )
    assert "is a number (1.0, without quotes), not text" in finding.message


def test_a_number_for_a_mandatory_text_is_said_once() -> None:
    change: Change = {
        (*LABELS, "ai.sap.com/version"): 1.0,
        (*ANNOTATIONS, "executables.ai.sap.com/name"): 3,
    }
    assert [code for code, _ in sorted(found(change))] == ["AIC005", "AIC006"]


def test_the_values_of_secrets_are_never_shown() -> None:
    secret = "hunter2-is-the-password"
    document = changed(
        {
            HAND_ENV: {"name": "DB_PASSWORD", "value": secret},
            (*HAND_CONTAINER, "env", 1): {"name": "X", "value": f"db://b:{secret}@c"},
            (*PARAMETERS, 1): {"name": "api_token", "value": secret},
        }
    )
    findings = lint(document)
    assert [f.code for f in findings].count("AIC029") == 3
    assert secret not in repr(findings)


def test_findings_are_in_the_order_of_the_document() -> None:
    document = changed(
        {
            (*HAND_CONTAINER, "image"): "python",
            (*CONTAINER, "image"): "python",
            (*LABELS, "ai.sap.com/version"): GONE,
            ("spec", "entrypoint"): "x",
        }
    )
    assert [f.code for f in lint(document)][:4] == ["AIC005", "ARG001", "AIC021", "AIC021"]
    assert [f.path[2] for f in lint(document) if f.code == "AIC021"] == [1, 2]


def test_what_is_ignored_is_left_out() -> None:
    document = changed({("spec", "activeDeadlineSeconds"): GONE, (*HAND_CONTAINER, "image"): "x"})
    assert [f.code for f in lint(document, ignore={"AIC021"})] == ["AIC022"]


def test_an_unknown_code_is_named_with_the_nearest() -> None:
    assert check_codes(["AIC005", "KUB001"]) == {"AIC005", "KUB001"}
    with pytest.raises(SettingsError, match=r"no lint code ARG01\. Did you mean ARG\d+\?"):
        check_codes(["AIC005", "ARG01"])


@pytest.mark.parametrize("kind", ["ServingTemplate", "Secret"])
def test_another_kind_is_a_note(kind: str) -> None:
    (finding,) = lint({"apiVersion": "ai.sap.com/v1alpha1", "kind": kind, "spec": {"a": 1}})
    assert (finding.code, finding.severity, finding.where) == ("AIC032", Severity.NOTE, "kind")
    assert "AIC032" not in {f.code for f in lint(sound())}


@pytest.mark.parametrize("document", [None, [], "text", 3, {}, {"a": {"b": 1}}])
def test_what_is_no_object_is_one_kind_of_finding(document: object) -> None:
    assert {f.code for f in lint(document)} == {"AIC001"}


STRANGE = [None, 1, "{{x}}", [], {}, [None], [[1]], [{"name": None}], {"a": [None]}]


@pytest.mark.parametrize("strange", STRANGE, ids=repr)
def test_no_shape_is_a_crash(strange: object) -> None:
    """Whatever stands at whatever place of a sound one: rules look, and don't fall."""

    def replace(value: Any, path: tuple[str | int, ...] = ()) -> None:  # noqa: ANN401
        if path:
            lint(changed({path: strange}))
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in parts:
            if isinstance(inner, dict | list):
                replace(inner, (*path, key))
            else:
                lint(changed({(*path, key): strange}))

    replace(sound())


def test_a_kind_alone_is_no_object_of_kubernetes() -> None:
    assert {f.code for f in lint({"kind": "Secret"})} >= {"AIC001", "AIC004"}
    assert "AIC032" not in {f.code for f in lint({"kind": "Secret"})}


def test_the_limits_are_met_exactly() -> None:
    """One byte more than Kubernetes takes is found, and one less is not."""
    used = sum(len(key + value) for key, value in sound()["metadata"]["annotations"].items())
    room = kubernetes.ANNOTATIONS_LIMIT - used - 1
    assert ("KUB002", "metadata.annotations") not in found({(*ANNOTATIONS, "a"): "x" * room})
    assert ("KUB002", "metadata.annotations") in found({(*ANNOTATIONS, "a"): "x" * (room + 1)})
    wait = ("spec", "templates", 3)
    empty = changed({wait: {"name": "long", "suspend": {"duration": ""}}})
    room = 1024 * 1024 - len(json.dumps(empty, ensure_ascii=False))
    for size, expected in ((room, False), (room + 1, True)):
        change: Change = {wait: {"name": "long", "suspend": {"duration": "1" * size}}}
        assert (("KUB006", "the document") in found(change)) is expected


def test_fifty_steps_have_no_finding_and_take_under_a_tenth_of_a_second() -> None:
    document = of_steps(50)
    seconds = []
    for _ in range(3):
        started = time.process_time()
        assert lint(document) == ()
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.1


def test_codes_are_stable_in_form_and_said_in_full() -> None:
    assert len(BY_CODE) == len(RULES)
    for rule in RULES:
        assert re.fullmatch(r"(?:AIC|ARG|KUB)\d{3}", rule.code)
        for text in (rule.title, rule.why, rule.fix, rule.source):
            assert text
            assert text[0].isupper() or text[0] in "[`"
        assert rule.why.endswith(".")
        assert rule.fix.endswith(".")
