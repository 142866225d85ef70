from typing import Any

import pytest

from aicore_build.errors import GeneratorError
from aicore_build.parameters import pass_by_environment, variable


def document(text: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    container = {"command": ["bash"], "args": ["-c", text]}
    return {
        "spec": {
            "arguments": {"parameters": list(parameters)},
            "templates": [{"name": "dag", "dag": {}}, {"name": "start", "container": container}],
        }
    }


def test_a_command_takes_parameters_from_its_environment() -> None:
    text = "init --a-b={{workflow.parameters.a-b}} --c={{workflow.parameters.c}} && step"
    mended = document(text, {"name": "a-b", "value": '"x y"'}, {"name": "c", "value": "null"})
    pass_by_environment(mended, ())
    container = mended["spec"]["templates"][1]["container"]
    assert container["args"][1] == (
        'init --a-b="$AICORE_BUILD_PARAMETER_a_b" '
        '${AICORE_BUILD_PARAMETER_c:+"--c=$AICORE_BUILD_PARAMETER_c"} && step'
    )
    assert container["env"] == [
        {"name": "AICORE_BUILD_PARAMETER_a_b", "value": "{{workflow.parameters.a-b}}"},
        {"name": "AICORE_BUILD_PARAMETER_c", "value": "{{workflow.parameters.c}}"},
    ]
    assert mended["spec"]["arguments"]["parameters"] == [
        {"name": "a-b", "value": "x y"},
        {"name": "c", "value": ""},
    ]


def test_metaflows_file_of_parameters_becomes_exports_from_the_environment() -> None:
    text = (
        "(python -m metaflow.plugins.argo.set_parameters abcdef"
        " a-b,f,{{=toBase64(workflow.parameters['a-b'])}}"
        " c,t,{{=toBase64(workflow.parameters['c'])}}"
        " && . `pwd`/abcdef && if ! python flow.py dump; then python flow.py init; fi && step)"
    )
    mended = document(text, {"name": "a-b", "value": '"x $y"'}, {"name": "c", "value": "null"})
    pass_by_environment(mended, ())
    container = mended["spec"]["templates"][1]["container"]
    assert container["args"][1] == (
        '(export METAFLOW_INIT_A_B="$AICORE_BUILD_PARAMETER_a_b" && '
        'if [ -n "$AICORE_BUILD_PARAMETER_c" ]; then '
        'export METAFLOW_INIT_C="$AICORE_BUILD_PARAMETER_c"; fi && '
        "if ! python flow.py dump; then python flow.py init; fi && step)"
    )
    assert container["env"] == [
        {"name": "AICORE_BUILD_PARAMETER_a_b", "value": "{{workflow.parameters.a-b}}"},
        {"name": "AICORE_BUILD_PARAMETER_c", "value": "{{workflow.parameters.c}}"},
    ]
    assert mended["spec"]["arguments"]["parameters"] == [
        {"name": "a-b", "value": "x $y"},
        {"name": "c", "value": ""},
    ]


@pytest.mark.parametrize(
    "text",
    [
        (
            "(python -m metaflow.plugins.argo.set_parameters f"
            " a,f,{{=toBase64(workflow.parameters['a'])}} && source f && init)"
        ),
        "(python -m other f a,f,{{=toBase64(workflow.parameters['a'])}} && . `pwd`/f && init)",
        "echo {{= workflow.parameters['a'] }}",
    ],
)
def test_another_way_to_hand_parameters_over_is_an_error(text: str) -> None:
    with pytest.raises(GeneratorError, match="command of start has a parameter in a place"):
        pass_by_environment(document(text), ())


def test_without_parameters_nothing_changes() -> None:
    mended = document("(true)")
    pass_by_environment(mended, ())
    assert mended == document("(true)")


def test_a_place_that_is_not_known_is_an_error() -> None:
    with pytest.raises(GeneratorError, match="command of start has a parameter in a place"):
        pass_by_environment(document("echo {{ workflow.parameters.p }}"), ())
    with pytest.raises(GeneratorError, match="command of start has a parameter in a place"):
        pass_by_environment(
            document("x --p={{workflow.parameters.p}} y={{workflow.parameters.q}} "), ()
        )


def test_names_become_variables() -> None:
    assert variable("learning-rate") == "AICORE_BUILD_PARAMETER_learning_rate"


def test_metaflows_own_script_without_parameters_goes() -> None:
    text = "(python -m metaflow.plugins.argo.set_parameters xyz  && . `pwd`/xyz && step)"
    mended = document(text)
    pass_by_environment(mended, ())
    assert mended == document("(step)")


def test_metaflows_own_script_in_another_form_is_an_error() -> None:
    text = "(python -m metaflow.plugins.argo.set_parameters --new xyz && . `pwd`/xyz && step)"
    with pytest.raises(GeneratorError, match="command of start has a parameter in a place"):
        pass_by_environment(document(text), ())
