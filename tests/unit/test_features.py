from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aicore_build.errors import FlowError
from aicore_build.features import FEATURES, Verdict, as_table, judge, uses_packages, uses_plugin
from aicore_build.flow import Parameter, Step
from aicore_build.settings import GeneratorName, Settings, StepSettings
from tests.unit.make import CPU, make_flow, make_step, sweep_flow

ASKS: dict[str, Any] = {"resources": {"cpu": 4, "memory": 16000, "gpu": None}}


def notes(*steps: Step, **settings: object) -> tuple[str, ...]:
    return judge(make_flow(*steps), Settings(**settings))  # type: ignore[arg-type]


def test_each_row_says_what_the_program_does() -> None:
    for feature in FEATURES:
        silent = {feature.sap, feature.metaflow} <= {Verdict.SUPPORTED, Verdict.ABSENT}
        assert (feature.find is None) is silent, feature.name
    assert len({feature.name for feature in FEATURES}) == len(FEATURES)
    assert len(as_table().splitlines()) == len(FEATURES) + 2


@pytest.mark.parametrize(
    ("generator", "installed", "plugin"),
    [
        pytest.param(None, "1.1.22", True, id="installed"),
        pytest.param(None, None, False, id="not installed"),
        pytest.param(GeneratorName.SAP, None, True, id="named, not installed"),
        pytest.param(GeneratorName.METAFLOW, "1.1.22", False, id="another one named"),
    ],
)
def test_the_generator_is_the_named_one_else_the_plugin_where_it_is_installed(
    generator: GeneratorName | None, installed: str | None, *, plugin: bool
) -> None:
    flow = make_flow(images={"start": CPU}, plugin_version=installed)
    settings = Settings(generator=generator)
    assert uses_plugin(flow, settings) is plugin
    for feature in FEATURES:
        expected = feature.sap if plugin else feature.metaflow
        assert feature.verdict(flow, settings) is expected


def test_what_a_flow_is_told_depends_on_the_generator() -> None:
    flow = replace(make_flow(images={"start": CPU}), decorators={"project": {}, "exit_hook": {}})
    [note] = judge(flow, Settings(generator=GeneratorName.SAP))
    assert "trainflow in every branch" in note
    with pytest.raises(FlowError, match="@exit_hook can't run"):
        judge(flow, Settings(generator=GeneratorName.METAFLOW))


def test_flow_that_has_nothing_special() -> None:
    assert judge(make_flow(images={"start": CPU, "end": CPU}), Settings()) == ()


def test_all_that_is_refused_is_named_at_once() -> None:
    flow = make_flow(
        Step(name="train", image=CPU, decorators={"batch": {}}, parallel=True),
        make_step("end", kubernetes={"persistent_volume_claims": {"a": "/b"}}),
        script=Path("/flows/my flow.py"),
    )
    with pytest.raises(FlowError) as refused:
        judge(flow, Settings())
    said = str(refused.value)
    assert len(said.splitlines()) == 4
    for part in ("my flow.py", "num_parallel at step train", "AWS Batch", "persistent_volume"):
        assert part in said


@pytest.mark.parametrize("name", ["flöw.py", "train_flow-2.py", "流.py"])
def test_file_names_that_a_shell_leaves_as_they_are(name: str) -> None:
    assert judge(make_flow(images={"start": CPU}, script=Path(name)), Settings()) == ()


def test_resources_are_noted_with_the_smallest_plan_that_fits() -> None:
    [note] = notes(make_step("train", CPU, **ASKS))
    assert "step train asks for cpu=4, memory=16000" in note
    assert "here none; infer.m is the smallest that fits: steps.train.resource-plan" in note


@pytest.mark.parametrize(
    ("settings", "labels", "noted"),
    [
        pytest.param({"resource_plan": "basic"}, {}, True, id="too small"),
        pytest.param({"resource_plan": "train.l"}, {}, False, id="large enough"),
        pytest.param({"resource_plan": "starter"}, {"train": "train.l"}, False, id="of the step"),
        pytest.param({"resource_plan": "new.plan"}, {}, False, id="a plan that is not known"),
    ],
)
def test_plan_that_is_set_is_judged(
    settings: dict[str, str], labels: dict[str, str], *, noted: bool
) -> None:
    steps = {name: StepSettings(resource_plan=plan) for name, plan in labels.items()}
    assert bool(notes(make_step("train", CPU, **ASKS), steps=steps, **settings)) is noted


def test_plan_in_the_labels_of_argo_is_judged() -> None:
    def argo(key: str, value: str) -> Step:
        return make_step("train", CPU, argo={"labels": {f"ai.sap.com/{key}": value}}, **ASKS)

    assert notes(argo("resourcePlan", "starter"))
    assert notes(argo("resourcePlan", "train.l")) == ()
    assert notes(argo("instanceType", "p4d.x")) == ()


def test_step_that_no_plan_fits() -> None:
    [note] = notes(make_step("train", resources={"cpu": "1", "memory": "4096", "gpu": 8}))
    assert "gpu=8" in note
    assert "none is that large" in note


def test_kind_of_an_artifact_that_is_set_is_not_noted() -> None:
    step = make_step(
        "end", argo={"output_artifacts": [{"name": "a", "globalName": "g"}, {"name": "b"}]}
    )
    model, unregistered = notes(step)
    assert "artifact g of step end is registered as a model" in model
    assert "artifact b of step end has no globalName" in unregistered
    key = "artifacts.ai.sap.com/g.kind"
    assert notes(step, annotations={key: "dataset"}) == (unregistered,)


def test_other_python_is_no_news_where_the_base_image_is_set() -> None:
    step = make_step("train", pypi={"packages": {}, "python": "3.9.1", "disabled": False})
    assert len(notes(step)) == 1
    assert notes(step, base_image="python:3.9-slim") == ()


def test_decorators_of_the_flow_itself() -> None:
    flow = replace(
        make_flow(images={"start": CPU}),
        decorators={"schedule": {}, "trigger_on_finish": {}, "project": {"name": "p"}},
    )
    said = "\n".join(judge(flow, Settings()))
    assert "@schedule has no effect" in said
    assert "@trigger_on_finish has no effect" in said
    assert "the workflow template is trainflow in every branch" in said
    bare = replace(flow, parameters=(Parameter(name="target", kind="Parameter", required=True),))
    with pytest.raises(FlowError, match="required parameters target"):
        judge(bare, Settings())


def test_without_the_plugin_it_is_the_other_generator() -> None:
    step = Step(name="a", image=CPU, decorators={"catch": {}}, added=("catch",))
    loop = replace(step, name="b", next=("b",))
    assert len(judge(make_flow(step), Settings())) == 1
    assert judge(make_flow(step, plugin_version=None), Settings()) == ()
    with pytest.raises(FlowError, match="b goes back to b"):
        judge(make_flow(step, loop, plugin_version=None), Settings())


def test_stand_ins_are_named() -> None:
    flow = replace(make_flow(images={"start": CPU}), stubs=("torch", "pandas"))
    [note] = judge(flow, Settings())
    assert "torch, pandas" in note


def test_the_recorded_flow_asks_for_memory() -> None:
    notes = judge(sweep_flow(), Settings())
    assert [note for note in notes if "asks for" in note] == []


def test_packages() -> None:
    assert uses_packages(make_step("a", pypi={"packages": {"b": "1"}, "disabled": False}))
    assert not uses_packages(make_step("a", pypi={"packages": {}, "disabled": False}))
    assert not uses_packages(make_step("a", conda={"packages": {"b": "1"}, "disabled": True}))


def test_decorators_of_extensions_are_noted_where_they_are() -> None:
    step = Step(name="a", image=CPU, decorators={"tracked": {}}, foreign=("tracked",))
    flow = replace(make_flow(step), decorators={"watched": {}}, foreign=("watched",))
    watched, tracked = judge(flow, Settings())
    assert watched.startswith("@watched at the flow comes from an extension")
    assert tracked.startswith("@tracked at step a comes from an extension")
