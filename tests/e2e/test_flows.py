"""A flow with much of what people use, from a folder with an odd name, run as AI Core would."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox import Sandbox
from tests.workbench import Workbench

FLOW = """\
import os
from pathlib import Path

import humanize
from metaflow import (
    FlowSpec, Parameter, card, catch, conda, current, environment, kubernetes, project, pypi,
    pypi_base, retry, schedule, secrets, step, timeout,
)

import helper
from lib.limits import LIMITS, limit

print("a line at import time")
IMAGE = f"{os.environ.get('REGISTRY', 'set-where-it-is-built')}/everyday:{helper.TAG}"


@schedule(daily=True)
@project(name="prices")
@pypi_base(packages={"humanize": "4.9.0"})
class EverydayFlow(FlowSpec):
    size = Parameter("size", default=3)

    @kubernetes(image=IMAGE)
    @environment(vars={"MODE": "fast", "THREADS": 2})
    @card(type="blank")
    @step
    def start(self):
        print("limit", limit("rows"), os.environ["MODE"], os.environ["THREADS"])
        self.numbers = [1000, 2000000][: self.size]
        self.next(self.work, foreach="numbers")

    @retry(times=2, minutes_between_retries=0)
    @kubernetes(image=IMAGE)
    @step
    def work(self):
        if current.retry_count == 0 and self.input == 1000:
            raise RuntimeError("the first attempt fails")
        self.text = humanize.intword(self.input)
        self.next(self.join)

    @conda(packages={"tabulate": "0.9.0"})
    @pypi(packages={"tabulate": "0.9.0"})
    @kubernetes(image=IMAGE)
    @secrets(sources=[{"type": "inline", "id": "x", "options": {"env_vars": {"TOKEN": "t0k"}}}])
    @step
    def join(self, inputs):
        import tabulate
        print(tabulate.tabulate([[i.text] for i in inputs], tablefmt="plain"), os.environ["TOKEN"])
        self.next(self.fails)

    @catch(var="failure")
    @timeout(minutes=5)
    @kubernetes(image=IMAGE)
    @step
    def fails(self):
        raise ValueError("this step always fails")
        self.next(self.end)

    @kubernetes(image=IMAGE)
    @step
    def end(self):
        print("caught", self.failure.exception.rpartition(":")[2].strip(), sorted(LIMITS))


if __name__ == "__main__":
    EverydayFlow()
"""

LIMITS = """\
import json
from pathlib import Path

LIMITS = json.loads((Path(__file__).parent / "limits.json").read_text())


def limit(name):
    return LIMITS[name]
"""

SETTINGS = """\
scenario-id = "everyday"
scenario-name = "Every day"
version = "1.0.0"
resource-plan = "starter"
metaflow-options = ["--package-suffixes=.json"]
"""


@pytest.fixture
def bench(sandbox: Sandbox, tmp_path: Path) -> Iterator[Workbench]:
    bench = Workbench.prepare(sandbox, tmp_path / ".hidden", f"e2e-{uuid.uuid4().hex[:8]}")
    folder = bench.folder / "the 'flöws'"
    (folder / "lib").mkdir(parents=True)
    (folder / "everydayflow.py").write_text(FLOW)
    (folder / "helper.py").write_text('TAG = "v" + str(1)\n')
    (folder / "lib" / "__init__.py").touch()
    (folder / "lib" / "limits.py").write_text(LIMITS)
    (folder / "lib" / "limits.json").write_text('{"rows": 7}')
    (folder / "aicore-build.toml").write_text(SETTINGS)
    yield bench
    bench.remove_images()


def test_everyday_flow_runs_as_ai_core_would(bench: Workbench) -> None:
    example = "the 'flöws'"
    plan = json.loads(bench.build(example, "plan", "--json"))
    [image] = plan["images"]
    assert image["reference"] == f"{bench.environment['REGISTRY']}/everyday:v1"
    assert image["requirements"][-2:] == ["humanize==4.9.0", "tabulate==0.9.0"]
    said = "\n".join(plan["notes"])
    for part in ("humanize", "@schedule", "@project", "@conda"):
        assert part in said
    assert "limits.json" not in said

    *_, dev_template = bench.build(example, "dev").splitlines()
    check_output(bench, Path(dev_template))

    result = json.loads(bench.build(example, "prod", "--json"))
    assert bench.delete_code_packages(result["code_package"]["address"]) >= 1
    check_output(bench, Path(result["workflow_template"]["path"]))


def check_output(bench: Workbench, template: Path) -> None:
    runs = bench.verify(template)["runs"]
    last = {run["name"]: run["output"] for run in runs}
    assert "limit 7 fast 2" in last["start"]
    assert {run["attempt"] for run in runs if run["name"] == "work(0)"} == {0, 1}
    assert "1.0 thousand" in last["join"]
    assert "2.0 million" in last["join"]
    assert "t0k" in last["join"]
    assert "caught" in last["end"]
    assert "['rows']" in last["end"]
