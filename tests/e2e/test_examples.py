import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aicore_build.lint.files import lint_files
from tests.sandbox import Sandbox
from tests.workbench import Workbench

LINES = {
    "trainflow": {
        "start": "200 flats, from 20 to 119 m²",
        "train-model": "price = 3.50 * size + 40.34",
        "end": "The size explains 98% of the price (as user 65534).",
    },
    "hyperparameters": {
        "start": "",
        "train(0)": "alpha=0.01: R² 0.481 over 5 folds",
        "train(1)": "alpha=0.1: R² 0.480 over 5 folds",
        "train(2)": "alpha=1.0: R² 0.410 over 5 folds",
        "choose": "",
        "end": "Best: alpha=0.01 with R² 0.481",
    },
}


@pytest.fixture
def bench(sandbox: Sandbox, tmp_path: Path) -> Iterator[Workbench]:
    bench = Workbench.prepare(sandbox, tmp_path / "examples", f"e2e-{uuid.uuid4().hex[:8]}")
    yield bench
    bench.remove_images()


def _made(result: dict[str, Any]) -> dict[str, Any]:
    """What `prod` made, whether in this run or before: digests, package, workflow template."""
    images = [image["pinned"] for image in result["images"]]
    return {**result, "images": images}


@pytest.mark.parametrize("example", LINES)
def test_an_example_runs_from_its_prod_images(bench: Workbench, example: str) -> None:
    dev = bench.build(example, "dev").splitlines()
    result = bench.prod(example)
    template = Path(result["workflow_template"]["path"])
    written = template.read_bytes()
    assert dev[-1] == str(template.with_name(f"{example}-dev.json"))
    assert [image["base_image"] for image in result["images"]] == dev[:-1]
    for path in (template, Path(dev[-1])):
        found = lint_files([path], ignore=frozenset(), strict=True)
        assert (found.checked, found.findings) == (1, ())

    again = bench.prod(example)
    assert [image["built"] for image in again["images"]] == [False] * len(result["images"])
    assert _made(again) == _made(result)
    assert template.read_bytes() == written

    assert bench.delete_code_packages(result["code_package"]["address"]) == 1
    bench.remove_images("-prod-")  # the steps run what the registry has
    report = bench.verify(template)
    assert {run["name"]: run["output"] for run in report["runs"]} == LINES[example]
    pinned = {image["pinned"] for image in result["images"]}
    assert {run["image"] for run in report["runs"]} == pinned
    assert {image["reference"] for image in report["images"]} == pinned


def test_a_dev_workflow_template_fetches_the_code_when_a_step_starts(bench: Workbench) -> None:
    *_, template = bench.build("trainflow", "dev").splitlines()
    for run in bench.verify(Path(template))["runs"]:
        assert LINES["trainflow"][run["name"]] in run["output"]


def test_trainflow_runs_on_this_machine_alone(bench: Workbench) -> None:
    folder = bench.folder / "trainflow"
    environment = {
        k: v for k, v in bench.environment.items() if not k.startswith(("AWS_", "METAF"))
    }
    done = subprocess.run(
        [sys.executable, "trainflow.py", "run"],
        cwd=folder,
        env={**environment, "METAFLOW_USER": "somebody", "METAFLOW_HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "The size explains 98% of the price" in done.stdout
