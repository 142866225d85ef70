from collections.abc import Mapping
from typing import Any

import pytest

from aicore_build.errors import FlowError
from aicore_build.libraries import image_libraries, other_pythons, step_libraries
from tests.unit.make import CPU, make_flow, make_step


def of(packages: Mapping[str, str | None], **more: object) -> dict[str, Any]:
    return {"packages": packages, "python": None, "disabled": False, **more}


@pytest.mark.parametrize(
    ("version", "requirement"),
    [
        pytest.param("2.1.0", "pandas==2.1.0", id="a version"),
        pytest.param("2.1.*", "pandas==2.1.*", id="a prefix"),
        pytest.param("", "pandas", id="none"),
        pytest.param(None, "pandas", id="null"),
        pytest.param(">=2,<3", "pandas>=2,<3", id="a range"),
        pytest.param("~=2.1", "pandas~=2.1", id="compatible"),
        pytest.param("==2.1", "pandas==2.1", id="exactly"),
        pytest.param("@ git+https://x.io/p", "pandas @ git+https://x.io/p", id="an address"),
        pytest.param("@git+https://x.io/p@v1", "pandas @git+https://x.io/p@v1", id="no space"),
    ],
)
@pytest.mark.parametrize("decorator", ["pypi", "conda"])
def test_requirement_of_a_package(decorator: str, version: str | None, requirement: str) -> None:
    step = make_step("start", CPU, **{decorator: of({"pandas": version})})
    assert step_libraries(step) == {"pandas": requirement}


def test_channel_and_python_of_conda_are_left_out() -> None:
    step = make_step("start", conda=of({"conda-forge::scipy": "1.14", "python": "3.11"}))
    assert step_libraries(step) == {"scipy": "scipy==1.14"}


def test_disabled_decorators_have_no_packages() -> None:
    assert step_libraries(make_step("start", conda=of({"scipy": "1"}, disabled=True))) == {}


@pytest.mark.parametrize(
    ("step", "said"),
    [
        pytest.param(
            make_step("train", conda=of({"pytorch": "2.1=cuda118"})), "which only conda", id="build"
        ),
        pytest.param(
            make_step("train", pypi=of({"a": "@ https://me:pw@x.io/a"})), "credentials", id="secret"
        ),
        pytest.param(make_step("train", pypi=of({"a": "@ file:///a"})), "this machine", id="file"),
    ],
)
def test_package_that_pip_cannot_install(step: Any, said: str) -> None:  # noqa: ANN401
    with pytest.raises(FlowError, match=said) as refused:
        step_libraries(step)
    assert "step train" in str(refused.value)
    assert ":pw@" not in str(refused.value)


def test_libraries_of_an_image_are_those_of_its_steps() -> None:
    steps = (
        make_step("start", pypi=of({"pandas": "2.1"})),
        make_step("train", pypi=of({"torch": "2.4", "pandas": "2.1"})),
        make_step("end"),
    )
    assert image_libraries(steps, "a:1") == ("pandas==2.1", "torch==2.4")
    assert image_libraries(reversed(steps), "a:1") == ("pandas==2.1", "torch==2.4")


def test_steps_that_disagree() -> None:
    steps = (
        make_step("start", pypi=of({"Pandas": "2.1"})),
        make_step("end", conda=of({"pandas": "2.2"})),
    )
    with pytest.raises(FlowError, match=r"start and end share the image a:1.*\n.*another tag"):
        image_libraries(steps, "a:1")


def test_other_pythons() -> None:
    flow = make_flow(
        make_step("start", pypi=of({}, python="3.11.2")),
        make_step("train", conda=of({}, python="3.9.10")),
        make_step("skipped", conda=of({}, python="3.9.10", disabled=True)),
        make_step("end"),
    )
    assert [(step.name, version) for step, version in other_pythons(flow)] == [("train", "3.9.10")]
