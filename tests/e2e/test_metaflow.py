"""Flows with upstream Metaflow, from `dev` by `prod` to a run as on AI Core."""

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aicore_build.lint.files import lint_files
from tests.sandbox import Sandbox
from tests.sandbox.state import Store
from tests.sandbox.upstream import upstream_python
from tests.workbench import Workbench

FLOW = """\
import os

from metaflow import (
    Config, FlowMutator, FlowSpec, Parameter, StepMutator, catch, config_expr, current, step,
)

IMAGE = f"{os.environ.get('REGISTRY', 'set-where-it-is-built')}/joint:"


class OneImage(FlowMutator):
    def pre_mutate(self, mutable_flow):
        image = IMAGE + mutable_flow.config.tag
        for _, each in mutable_flow.steps:
            each.add_decorator("kubernetes", deco_kwargs={"image": image})


class OnceMore(StepMutator):
    def mutate(self, mutable_step):
        mutable_step.add_decorator(
            "retry", deco_kwargs={"times": 1, "minutes_between_retries": 0}
        )


@OneImage
class JointFlow(FlowSpec):
    config = Config("config", default="config.json")
    text = Parameter("text", default="two 'wörds' $HOME")

    @step
    def start(self):
        print("given", repr(self.text), "configured", self.config.limits.rows)
        self.rows = list(range(self.config.limits.rows))
        self.next(self.row, foreach="rows")

    @step
    def row(self):
        self.cells = list(range(self.input + 1))
        self.next(self.cell, foreach="cells")

    @OnceMore
    @step
    def cell(self):
        if current.retry_count == 0 and self.input == 1:
            raise RuntimeError("the first attempt fails")
        self.number = self.input + 1
        self.next(self.join_cells)

    @step
    def join_cells(self, inputs):
        self.number = sum(each.number for each in inputs)
        self.next(self.join_rows)

    @catch(var="failure")
    @step
    def join_rows(self, inputs):
        self.number = sum(each.number for each in inputs)
        self.next(self.end)

    @step
    def end(self):
        print("sum", self.number, "as", os.getuid(), "failure", self.failure)


if __name__ == "__main__":
    JointFlow()
"""

SETTINGS = """\
scenario-id = "joint"
scenario-name = "Much in one flow"
version = "1.0.0"
resource-plan = "starter"
"""

SAID = {
    "trainflow": {
        "start": "200 flats, from 20 to 119 m²",
        "train-model": "price = 3.50 * size + 40.34",
        "end": "The size explains 98% of the price (as user 65534).",
    },
    "hyperparameters": {
        "train(0)": "alpha=0.01: R² 0.481 over 5 folds",
        "train(2)": "alpha=1.0: R² 0.410 over 5 folds",
        "end": "Best: alpha=0.01 with R² 0.481",
    },
    "jointflow": {
        "start": "given \"two 'wörds' $HOME\" configured 2",
        "end": "sum 4 as 65534 failure None",
    },
}


@pytest.fixture
def bench(sandbox: Sandbox, tmp_path: Path) -> Iterator[Workbench]:
    bench = Workbench.prepare(sandbox, tmp_path / "examples", f"e2e-{uuid.uuid4().hex[:8]}")
    folder = bench.folder / "jointflow"
    folder.mkdir()
    (folder / "jointflow.py").write_text(FLOW)
    (folder / "config.json").write_text('{"tag": "v3", "limits": {"rows": 2}}')
    (folder / "aicore-build.toml").write_text(SETTINGS)
    yield bench
    bench.remove_images()


def build(bench: Workbench, name: str, command: str, *more: str) -> str:
    """Run aicore-build for a flow with upstream Metaflow; return its stdout."""
    python = str(upstream_python(Store.of(os.environ)))
    flow = ("--flow", f"{name}.py", "--python", python, "--generator", "metaflow")
    return bench.build(name, command, *flow, *more)


@pytest.mark.parametrize("name", SAID)
def test_a_flow_runs_from_its_prod_images(bench: Workbench, name: str) -> None:
    *_, dev = build(bench, name, "dev").splitlines()
    result = json.loads(build(bench, name, "prod", "--json"))
    template = Path(result["workflow_template"]["path"])
    for path in (template, Path(dev)):
        found = lint_files([path], ignore=frozenset(), strict=True)
        assert (found.checked, found.findings) == (1, ())
    if name == "jointflow":
        written = template.read_bytes()
        again = json.loads(build(bench, name, "prod", "--json"))
        assert [image["built"] for image in again["images"]] == [False]
        assert template.read_bytes() == written

    assert bench.delete_code_packages(result["code_package"]["address"]) == 1
    bench.remove_images("-prod-")  # the steps run what the registry has
    report = json.loads(build(bench, name, "verify", "--json"))

    check_report(report, name)
    assert {run["image"] for run in report["runs"]} == {i["pinned"] for i in result["images"]}


def check_report(report: dict[str, Any], name: str) -> None:
    assert report["failure"] is None
    assert report["ok"]
    runs = {run["name"]: run for run in report["runs"]}  # of attempts, the last
    for step, line in SAID[name].items():
        assert line in runs[step]["output"]
    if name == "jointflow":
        attempts = [run["attempt"] for run in report["runs"] if run["name"].startswith("cell(")]
        assert sorted(attempts) == [0, 0, 0, 1]
