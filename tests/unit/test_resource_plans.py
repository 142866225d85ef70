from collections.abc import Mapping
from typing import Any

import pytest

from aicore_build.resource_plans import RESOURCE_PLANS, Ask, ask_of, find_plan, smallest_plan
from tests.unit.make import CPU, make_step

DEFAULTS = {"cpu": "1", "memory": "4096", "gpu": None}


@pytest.mark.parametrize(
    ("resources", "kubernetes", "expected"),
    [
        pytest.param(None, DEFAULTS, None, id="only an image"),
        pytest.param({**DEFAULTS, "gpu": "0"}, None, None, id="defaults of @resources"),
        pytest.param(
            {"cpu": 4, "memory": "16000", "gpu": "0"},
            {"cpu": "4.0", "memory": "16000.0", "gpu": "0"},
            Ask(cpu=4, memory=16000, gpu=0),
            id="@resources, merged into @kubernetes",
        ),
        pytest.param(
            None, {**DEFAULTS, "gpu": 1}, Ask(cpu=0, memory=0, gpu=1), id="@kubernetes alone"
        ),
        pytest.param(
            {"cpu": "2", "memory": "4096", "gpu": "0"},
            None,
            Ask(cpu=2, memory=0, gpu=0),
            id="@resources alone",
        ),
        pytest.param({"cpu": "two", "memory": "4 GB", "gpu": None}, None, None, id="no numbers"),
    ],
)
def test_what_a_step_asks_for(
    resources: Mapping[str, Any] | None, kubernetes: Mapping[str, Any] | None, expected: Ask | None
) -> None:
    given = {"resources": resources, "kubernetes": kubernetes}
    decorators = {name: value for name, value in given.items() if value is not None}
    assert ask_of(make_step("train", CPU, **decorators)) == expected


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        pytest.param(Ask(cpu=1, memory=3072, gpu=0), "starter", id="all of the smallest"),
        pytest.param(Ask(cpu=1, memory=3073, gpu=0), "basic", id="a MB more"),
        pytest.param(Ask(cpu=3, memory=0, gpu=0), "basic", id="cores"),
        pytest.param(Ask(cpu=31, memory=0, gpu=0), "basic.8x", id="many cores"),
        pytest.param(Ask(cpu=0, memory=0, gpu=1), "infer.s", id="a GPU"),
        pytest.param(Ask(cpu=0, memory=50000, gpu=1), "train.l", id="a GPU and memory"),
        pytest.param(Ask(cpu=0, memory=0, gpu=2), None, id="two GPUs"),
        pytest.param(Ask(cpu=32, memory=0, gpu=0), None, id="too many cores"),
    ],
)
def test_smallest_plan_that_fits(ask: Ask, expected: str | None) -> None:
    plan = smallest_plan(ask)
    assert (plan.name if plan else None) == expected


def test_plans_are_found_by_name() -> None:
    assert [find_plan(plan.name) for plan in RESOURCE_PLANS] == list(RESOURCE_PLANS)
    assert find_plan("Starter") is None


def test_ask_as_text() -> None:
    assert str(Ask(cpu=0.5, memory=16000, gpu=0)) == "cpu=0.5, memory=16000"
    assert str(Ask(cpu=0, memory=0, gpu=1)) == "gpu=1"
