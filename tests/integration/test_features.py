"""The table of docs/flows.md: each row against a flow that Metaflow itself reads."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from aicore_build.errors import FlowError
from aicore_build.features import FEATURES, Feature, Verdict, judge
from aicore_build.flow import Flow, read_flow
from aicore_build.generators.choice import generate
from aicore_build.plan import plan_images
from aicore_build.settings import Settings
from aicore_build.workflow import Json, container_templates, template_name
from tests.integration.feature_flows import EXAMPLES, Example, write_extension
from tests.sandbox import Sandbox
from tests.sandbox.state import Store
from tests.sandbox.upstream import upstream_python

SETTINGS = Settings(default_image="registry.example.com/acme/default:v1")


@pytest.fixture(scope="module")
def pythons() -> Mapping[str, str]:
    """The Python of each generator's Metaflow."""
    return {"sap": sys.executable, "metaflow": str(upstream_python(Store.of(os.environ)))}


def test_each_row_has_an_example() -> None:
    assert list(EXAMPLES) == [feature.name for feature in FEATURES]


@pytest.mark.parametrize("generator", ["sap", "metaflow"])
@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_row_of_the_table(
    feature: Feature,
    generator: str,
    pythons: Mapping[str, str],
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    example = EXAMPLES[feature.name]
    script = write(example, tmp_path, monkeypatch)
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    verdict = {"sap": feature.sap, "metaflow": feature.metaflow}[generator]
    if verdict is Verdict.ABSENT:
        with pytest.raises(FlowError, match=r"Metaflow could not read .*\n(.*\n)*.*(2\.19|plugin)"):
            read_flow(script, pythons[generator], example.options)
        return
    flow = read_flow(script, pythons[generator], example.options)
    said = tuple(feature.find(flow, SETTINGS)) if feature.find else ()
    match verdict:
        case Verdict.REFUSED:
            with pytest.raises(FlowError) as refused:
                judge(flow, SETTINGS)
            assert str(refused.value) == "\n".join(said)
        case Verdict.WARNED:
            assert set(said) <= set(judge(flow, SETTINGS))
            assert said
        case Verdict.SUPPORTED:
            assert judge(flow, SETTINGS) == ()
    if verdict is not Verdict.REFUSED:
        check_template(flow, make_template(flow))


def make_template(flow: Flow) -> Json:
    """Let the generator of the flow's Metaflow make the workflow template."""
    assert plan_images(flow, SETTINGS)
    return generate(flow, SETTINGS, embedded=False).workflow_template


def check_template(flow: Flow, document: Json) -> None:
    """Each step has its container, with its image."""
    found = {t["name"]: t["container"]["image"] for t in container_templates(document)}
    assert found.keys() == {template_name(step.name) for step in flow.steps}
    for step in flow.steps:
        assert step.image in (None, found[template_name(step.name)])


def write(example: Example, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the example's files; return the flow's."""
    for name, text in example.files.items():
        (folder / name).write_text(text)
    if example.extension:
        write_extension(folder / "extension", example.extension)
        monkeypatch.setenv("PYTHONPATH", str(folder / "extension"))
    script = folder / example.script
    script.write_text(example.source)
    return script
