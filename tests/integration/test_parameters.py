import subprocess
from typing import Any

import pytest

from aicore_build.parameters import pass_by_environment


def document(*parameters: dict[str, Any]) -> dict[str, Any]:
    """A workflow template as the plugin writes it, with a step that prints what it is given."""
    given = " ".join(f"--{p['name']}={{{{workflow.parameters.{p['name']}}}}}" for p in parameters)
    container = {
        "command": ["bash"],
        "args": ["-c", f"(printf '[%s]' init {given} && true)"],
    }
    return {
        "spec": {
            "arguments": {"parameters": list(parameters)},
            "templates": [{"name": "dag", "dag": {}}, {"name": "start", "container": container}],
        }
    }


def run(mended: dict[str, Any], **bound: str) -> str:
    """What the step prints, with the values in its environment that its variables name."""
    container = mended["spec"]["templates"][1]["container"]
    values = {p["name"]: p.get("value", "") for p in mended["spec"]["arguments"]["parameters"]}
    values |= bound
    environment = {}
    for entry in container["env"]:
        name = entry["value"].removeprefix("{{workflow.parameters.").removesuffix("}}")
        environment[entry["name"]] = values[name]
    done = subprocess.run(
        [*container["command"], *container["args"]],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("two words", id="space"),
        pytest.param('it\'s "quoted"', id="quotes"),
        pytest.param("costs 5$ of $HOME and `id` $(id)", id="dollar"),
        pytest.param("a;b && c | d > e * ? [f] \\ ! #", id="shell"),
        pytest.param("Zoë\n2 lines", id="lines"),
        pytest.param("-x", id="dash"),
        pytest.param("", id="empty"),
    ],
)
def test_a_value_reaches_the_flow_as_it_is(value: str) -> None:
    mended = document({"name": "my-text", "value": '"x"'})
    pass_by_environment(mended, ())
    assert run(mended, **{"my-text": value}) == f"[init][--my-text={value}]"


@pytest.mark.parametrize(
    ("generated", "value", "option"),
    [
        pytest.param('"two \\"words\\""', 'two "words"', '[--p=two "words"]', id="text"),
        pytest.param("3", "3", "[--p=3]", id="number"),
        pytest.param("true", "true", "[--p=true]", id="bool"),
        pytest.param('"null"', "null", "[--p=null]", id="text null"),
        pytest.param("null", "", "", id="none"),
    ],
)
def test_a_default_is_the_flows_own(generated: str, value: str, option: str) -> None:
    mended = document({"name": "p", "value": generated})
    pass_by_environment(mended, ())
    assert mended["spec"]["arguments"]["parameters"] == [{"name": "p", "value": value}]
    assert run(mended) == f"[init]{option}"


def test_a_parameter_whose_default_is_none_can_be_given() -> None:
    mended = document({"name": "p", "value": "null"}, {"name": "q"}, {"name": "r"})
    pass_by_environment(mended, {"r"})
    assert run(mended, p="a b", q="c d", r="") == "[init][--p=a b][--q=c d][--r=]"
    assert run(mended, r="e") == "[init][--r=e]"
    assert mended["spec"]["arguments"]["parameters"] == [
        {"name": "p", "value": ""},
        {"name": "q", "value": ""},
        {"name": "r"},
    ]
