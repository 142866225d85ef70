import subprocess
import sys
from typing import Any

import pytest

from aicore_build.lint import check_structure
from tests.unit.make import recorded
from tests.unit.templates import (
    BY_HAND,
    CONTAINER,
    METAFLOW,
    TASKS,
    Change,
    changed,
    of_steps,
    sound,
)

BAD = [
    pytest.param("ARG101", {(*CONTAINER, "command"): "bash"}, "spec.templates[1].container.command", "a valid", id="text for a list"),
    pytest.param("ARG101", {("spec", "parallelism"): "3"}, "spec.parallelism", "a valid integer", id="text for a number"),
    pytest.param("ARG101", {(*CONTAINER, "env", 0, "value"): 3}, "spec.templates[1].container.env[0].value", "a valid string", id="number for text"),
    pytest.param("ARG101", {("spec", "templates", 0, "dag", "failFast"): "true"}, "spec.templates[0].dag.failFast", "a valid boolean", id="text for true"),
    pytest.param("ARG101", {("spec", "templates"): {}}, "spec.templates", "a valid", id="table for a list"),
    pytest.param("ARG101", {("metadata",): "x"}, "metadata", "", id="text for a table"),
    pytest.param("ARG101", {(*BY_HAND, "inputs", "parameters", 0, "valueFrom"): {"default": {}}}, "spec.templates[2].inputs.parameters[0].valueFrom.default", "a valid string", id="table for any scalar"),
    pytest.param("ARG101", {(*CONTAINER, "resources", "limits"): {"cpu": True}}, "spec.templates[1].container.resources.limits.cpu", "a valid string", id="true for an amount"),
    pytest.param("ARG102", {("spec", "entrypoints"): "x"}, "spec.entrypoints", "Did you mean entrypoint?", id="unknown key"),
    pytest.param("ARG102", {(*TASKS, 1, "dependancies"): []}, "spec.templates[0].dag.tasks[1].dependancies", "Did you mean dependencies?", id="in a task"),
    pytest.param("ARG102", {("xyz",): 1}, "xyz", "no key 'xyz'", id="at the top"),
    pytest.param("ARG102", {(*BY_HAND, "inputs", "artifacts", 0, "description"): "x"}, "spec.templates[2].inputs.artifacts[0].description", "'description'", id="of an artifact"),
]  # fmt: skip

GOOD = [
    pytest.param({}, id="sound"),
    pytest.param({("spec", "arguments", "parameters", 0, "value"): 0.2}, id="number as parameter"),
    pytest.param({("spec", "arguments", "parameters", 0, "enum"): [1, True]}, id="enum"),
    pytest.param({(*CONTAINER, "resources", "limits"): {"cpu": 1, "memory": 5.5}}, id="amounts"),
    pytest.param({("spec", "volumes"): [{"name": "a", "emptyDir": {"sizeLimit": 5}}]}, id="size"),
    pytest.param({(*METAFLOW, "retryStrategy"): {"limit": 3}}, id="number for either"),
    pytest.param({(*METAFLOW, "retryStrategy"): {"limit": "3"}}, id="text for either"),
    pytest.param({(*METAFLOW, "activeDeadlineSeconds"): "{{x}}"}, id="substituted"),
    pytest.param({(*TASKS, 1, "withItems"): [1, "a", {"b": 2}, [3]]}, id="items"),
    pytest.param({(*BY_HAND, "inputs", "artifacts"): None}, id="null for a list"),
    pytest.param({("metadata", "creationTimestamp"): None}, id="null for a time"),
    pytest.param({(*METAFLOW, "nodeSelector"): {"any": "key"}}, id="free keys"),
    pytest.param({(*METAFLOW, "memoize"): {"key": "a"}}, id="missing, and not needed"),
    pytest.param({("spec", "synchronization"): {"mutex": {"name": "a"}}}, id="older key"),
    pytest.param({(*TASKS, 1, "inline"): {"suspend": {}}}, id="inline"),
]


@pytest.mark.parametrize(("code", "change", "where", "says"), BAD)
def test_what_argo_cannot_read_or_ignores(code: str, change: Change, where: str, says: str) -> None:
    (finding,) = check_structure(changed(change))
    assert (finding.code, finding.where) == (code, where)
    assert says in finding.message


@pytest.mark.parametrize("change", GOOD)
def test_what_argo_reads(change: Change) -> None:
    assert check_structure(changed(change)) == ()


def test_many_steps() -> None:
    assert check_structure(of_steps(50)) == ()


def test_what_the_generator_writes_but_for_a_number_that_complete_mends() -> None:
    found = check_structure(recorded("embedded"))
    assert [finding.where for finding in found] == ["spec.templates[2].container.env[4].value"]


def test_values_are_never_shown() -> None:
    change: dict[Any, Any] = {(*CONTAINER, "env", 0, "value"): ["hunter2"]}
    assert "hunter2" not in repr(check_structure(changed(change)))


@pytest.mark.parametrize("document", [None, [], "x", {}, {"metadata": {}, "spec": None}])
def test_no_shape_is_a_crash(document: object) -> None:
    assert all(finding.code == "ARG101" for finding in check_structure(document))


def test_the_models_are_loaded_when_they_are_used() -> None:
    code = """
import sys
from aicore_build.lint import check_structure, lint
lint({"kind": "WorkflowTemplate"})
print(sorted({"hera", "pydantic", "yaml", "requests", "click"} & set(sys.modules)))
check_structure({})
print("hera" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nTrue\n"


def test_sound_is_sound_for_argo() -> None:
    assert check_structure(sound()) == ()
