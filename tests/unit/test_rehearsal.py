import json
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.rehearsal import RehearsalError, rehearse, substitute_all

CONTAINER = {"image": "r/a:v1@sha256:0", "command": ["x"], "args": []}
STEP = {"name": "start", "container": CONTAINER}


def no_engine() -> docker.DockerClient:
    raise AssertionError("nothing was to be run")


def run(folder: Path, *templates: dict[str, Any]) -> None:
    spec = {"entrypoint": templates[0]["name"], "templates": templates}
    path = folder / "flow.json"
    path.write_text(json.dumps({"metadata": {"name": "flow"}, "spec": spec}), encoding="utf-8")
    rehearse(path, no_engine, {})


def test_names_are_replaced_everywhere() -> None:
    document = {"a": ["{{pod.name}}/{{ item }}", 1], "b": {"c": "{{item}}{{item}}"}}
    scope = {"pod.name": "pod", "item": "3"}
    assert substitute_all(document, scope) == {"a": ["pod/3", 1], "b": {"c": "33"}}


@pytest.mark.parametrize(
    ("template", "said"),
    [
        pytest.param(
            {**STEP, "container": {**CONTAINER, "args": ["{{workflow.uid}}"]}},
            r"\{\{workflow\.uid\}\} is not known",
            id="name",
        ),
        pytest.param({**STEP, "sidecars": []}, "sidecars in the template start", id="template"),
        pytest.param(
            {**STEP, "container": {**CONTAINER, "image": "r/a:v1"}},
            "r/a:v1 is not named by its digest",
            id="tag",
        ),
        pytest.param(
            {"name": "entry", "dag": {"tasks": [{"name": "a", "template": "a", "when": "no"}]}},
            "when in the task a: not known here",
            id="task",
        ),
        pytest.param(
            {"name": "entry", "dag": {"tasks": [{"name": "a", "dependencies": ["b"]}]}},
            "wait for each other, or for none: a",
            id="order",
        ),
    ],
)
def test_what_is_not_known_is_an_error(tmp_path: Path, template: dict[str, Any], said: str) -> None:
    with pytest.raises(RehearsalError, match=said):
        run(tmp_path, template)
