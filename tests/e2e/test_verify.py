"""A flow with most that a DAG can have, verified from its prod images alone."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox import Sandbox
from tests.workbench import Workbench

FLOW = """\
import os

from metaflow import FlowSpec, Parameter, catch, current, kubernetes, retry, step

IMAGE = f"{os.environ.get('REGISTRY', 'localhost:5000')}/nested:v1"


class NestedFlow(FlowSpec):
    text = Parameter("text", default="it's 5$ of \\"$HOME\\"")
    nothing = Parameter("nothing", default=None)

    @kubernetes(image=IMAGE)
    @step
    def start(self):
        print(repr(self.text), self.nothing)
        self.outer = ["a", "b"]
        self.next(self.one, foreach="outer")

    @kubernetes(image=IMAGE)
    @step
    def one(self):
        self.letter = self.input
        self.inner = [1, 2] if self.letter == "a" else [3]
        self.next(self.two, foreach="inner")

    @retry(times=1, minutes_between_retries=5)
    @kubernetes(image=IMAGE)
    @step
    def two(self):
        if self.input == 3 and current.retry_count == 0:
            raise ValueError("the first attempt")
        self.label = f"{self.letter}{self.input}"
        self.next(self.left, self.right)

    @kubernetes(image=IMAGE)
    @step
    def left(self):
        self.done = self.label + "<"
        self.next(self.both)

    @catch(var="caught")
    @kubernetes(image=IMAGE)
    @step
    def right(self):
        raise RuntimeError("always")
        self.next(self.both)

    @kubernetes(image=IMAGE)
    @step
    def both(self, inputs):
        self.done = [inputs.left.done, bool(inputs.right.caught)]
        self.next(self.inner_join)

    @kubernetes(image=IMAGE)
    @step
    def inner_join(self, inputs):
        self.done = [each.done for each in inputs]
        self.next(self.outer_join)

    @kubernetes(image=IMAGE)
    @step
    def outer_join(self, inputs):
        self.done = [each.done for each in inputs]
        self.next(self.end)

    @kubernetes(image=IMAGE)
    @step
    def end(self):
        print(self.done)


if __name__ == "__main__":
    NestedFlow()
"""

SETTINGS = """\
scenario-id = "nested"
scenario-name = "Nested"
version = "1.0.0"
resource-plan = "starter"
"""


@pytest.fixture
def bench(sandbox: Sandbox, tmp_path: Path) -> Iterator[Workbench]:
    bench = Workbench.prepare(sandbox, tmp_path / "flows", f"e2e-{uuid.uuid4().hex[:8]}")
    folder = bench.folder / "nested"
    folder.mkdir()
    (folder / "nestedflow.py").write_text(FLOW)
    (folder / "aicore-build.toml").write_text(SETTINGS)
    yield bench
    bench.remove_images()


def test_nested_foreach_branch_retry_catch_and_parameters(bench: Workbench) -> None:
    result = json.loads(bench.build("nested", "prod", "--json"))
    assert bench.delete_code_packages(result["code_package"]["address"]) == 1
    template = Path(result["workflow_template"]["path"])
    bench.build("nested", "lint", "--strict", template.name)

    logs, page = bench.folder / "logs", bench.folder / "report.html"
    report = bench.verify(template, "--logs", str(logs), "--html", str(page))
    assert report["ok"]
    assert report["failure"] is None
    assert report["notes"] == ["The pauses between attempts were left out."]
    runs = {(run["name"], run["attempt"]): run for run in report["runs"]}
    assert runs["start", 0]["output"] == "'it\\'s 5$ of \"$HOME\"' None"
    # A step with @catch fails in each attempt but the last, which does without the step's code.
    outcomes = {key: run["outcome"] for key, run in runs.items() if key[0].startswith("two")}
    assert outcomes == {
        ("two(0)(0)", 0): "succeeded",
        ("two(0)(1)", 0): "succeeded",
        ("two(1)(0)", 0): "failed",
        ("two(1)(0)", 1): "succeeded",
    }
    expected = "[[['a1<', True], ['a2<', True]], [['b3<', True]]]"
    assert runs["end", 0]["output"] == expected
    assert (logs / "end.log").read_text() == f"{expected}\n"
    assert "the first attempt" in (logs / "two(1)(0).log").read_text()
    assert (logs / "two(1)(0).1.log").is_file()
    assert "b3&lt;" in page.read_text(encoding="utf-8")
    assert all(run["peak_memory"] > 10_000_000 for run in report["runs"])


def test_a_parameter_is_what_it_was_bound_to(bench: Workbench) -> None:
    template = Path(bench.build("nested", "prod").splitlines()[-1])
    document = json.loads(template.read_text())
    # Only the first step: what it prints is all that is asked.
    document["spec"]["templates"][0]["dag"]["tasks"] = [
        task for task in document["spec"]["templates"][0]["dag"]["tasks"] if task["name"] == "start"
    ]
    small = template.with_name("small.json")
    small.write_text(json.dumps(document))
    text = "a  b \"c\" 'd' $HOME `id` $(id) {e} é \\\\ ;&|"
    report = bench.verify(small, "--parameter", f"text={text}", "--parameter", "nothing=x")
    [run] = report["runs"]
    assert run["output"] == f"{text!r} x"
