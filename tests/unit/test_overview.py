from dataclasses import replace
from pathlib import Path

import pytest

from aicore_build.changes import Change, Input
from aicore_build.explain import Explanation
from aicore_build.overview import Overview, overview
from aicore_build.record import Comparison
from aicore_build.reference import TagReference, parse_reference
from aicore_build.registry import Manifest
from aicore_build.settings import ImageSettings, Settings, StepSettings
from tests.unit.make import CPU, GPU, make_flow, sweep_flow


def overview_of(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Overview:
    monkeypatch.setattr("aicore_build.overview.read_flow", lambda *_: sweep_flow())
    return overview(Path("sweepflow.py"), settings)


SETTINGS = Settings(
    scenario_id="sweeps",
    scenario_name="Sweeps",
    version="1",
    images={
        GPU: ImageSettings(base_image="cuda:12", requirements=("t[x]",), apt_packages=("git",))
    },
)


def test_the_plan_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["sap-ai-core-metaflow==1.1.22", "awscli", "boto3", "requests"]
    assert overview_of(monkeypatch, SETTINGS).as_json() == {
        "schema": 1,
        "command": "plan",
        "flow": {"name": "SweepFlow", "script": "/flows/sweepflow.py"},
        "images": [
            {
                "reference": CPU,
                "steps": ["start", "join", "end"],
                "action": "build",
                "base_image": "python:3.11-slim",
                "dockerfile": None,
                "requirements": needed,
                "apt_packages": [],
                "prod_reference": f"{CPU}-prod-<package>",
                "explained": None,
            },
            {
                "reference": GPU,
                "steps": ["train_model"],
                "action": "build",
                "base_image": "cuda:12",
                "dockerfile": None,
                "requirements": [*needed, "t[x]"],
                "apt_packages": ["git"],
                "prod_reference": f"{GPU}-prod-<package>",
                "explained": None,
            },
        ],
        "notes": [],
    }


def test_an_image_that_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found = overview_of(monkeypatch, Settings(registry="other.example.com"))
    image = found.as_json()["images"][0]
    assert (image["action"], image["base_image"], image["requirements"]) == ("use", None, [])
    assert "use as it is" in found.as_table(wide=True)


def test_an_image_with_a_dockerfile(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(images={GPU: ImageSettings(dockerfile=Path("/flows/Dockerfile.gpu"))})
    found = overview_of(monkeypatch, settings)
    assert found.as_json()["images"][1]["dockerfile"] == "/flows/Dockerfile.gpu"
    assert "/flows/Dockerfile.gpu" in found.as_table(wide=True)


def test_the_table_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    table = overview_of(monkeypatch, SETTINGS).as_table(wide=True)
    head, *rows = (line.split() for line in table.splitlines() if line.strip(" ─"))
    assert head == ["Step", "Image", "Base", "Libraries", "dev", "prod", "pushes", "to"]
    assert rows[0][:4] == ["start", CPU, "python:3.11-slim", "sap-ai-core-metaflow==1.1.22"]
    assert rows[0][4:] == ["build", "and", "push", f"{CPU}-prod-<package>"]
    assert [row[0] for row in rows[:3]] == ["start", "join", "end"]
    assert "t[x]" in table
    assert "git (apt)" in table
    assert not any(line.endswith(" ") for line in table.splitlines())


def test_notes_say_what_would_stop_prod_and_what_has_no_effect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings(scenario_id="sweeps", steps={"train": StepSettings(resource_plan="x")})
    unused, missing = overview_of(monkeypatch, settings).notes
    assert unused == "steps.train is set, but the flow has no such step. Did you mean start?" or (
        unused.startswith("steps.train is set, but the flow has no such step.")
    )
    assert missing.startswith(
        "prod would stop: SAP AI Core needs what is not set: scenario-name, v"
    )


def test_a_flow_without_steps_is_an_empty_table() -> None:
    assert "Step" in Overview(flow=make_flow(), images=(), notes=()).as_table(wide=True)


def test_what_is_explained_is_below_the_table_and_in_the_json(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu, gpu = (parse_reference(name) for name in (CPU, GPU))
    assert isinstance(cpu, TagReference)
    change = Change(input=Input.LIBRARY, name="pandas", after="pandas>=2")
    fresh = Comparison(up_to_date=Manifest(raw=b"{}", media_type=""), is_there=True, changes=())
    stale = Comparison(up_to_date=None, is_there=True, changes=(change,) * 25)
    explained = tuple(
        Explanation(reference=reference, dev=dev, prod_reference=cpu, prod=prod, compared_with=cpu)
        for reference, dev, prod in ((cpu, stale, fresh), (gpu, None, stale))
    )
    found = replace(overview_of(monkeypatch, SETTINGS), explained=explained)

    first, second = (image["explained"] for image in found.as_json()["images"])
    assert first["dev"] == {"action": "build", "changes": [change.as_json()] * 25}
    assert first["prod"]["action"] == "up to date"
    assert (second["dev"], second["prod"]["action"]) == ({"action": "use", "changes": []}, "embed")
    assert second["prod"]["compared_with"] == second["prod"]["reference"] == CPU
    lines = found.as_table(wide=True).splitlines()
    assert lines[lines.index("  dev builds it:") + 1] == "    library pandas added"
    assert "    and 5 more" in lines
    assert f"  prod leaves {CPU}: up to date" in lines
    assert lines[lines.index("  dev uses it as it is") + 1] == f"  prod embeds {CPU}:"
