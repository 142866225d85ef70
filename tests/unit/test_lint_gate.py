from pathlib import Path

import pytest

from aicore_build.errors import LintError
from aicore_build.lint import lint
from aicore_build.lint.gate import refuse_errors
from aicore_build.settings import Settings
from aicore_build.workflow import complete, plan_completion
from tests.unit.make import DIGEST, recorded, sweep_flow
from tests.unit.templates import BY_HAND, CONTAINER, GONE, HAND_CONTAINER, METAFLOW, changed, sound

PATH = Path("flow.json")


class Notes:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def phase(self, name: str, phase: str) -> None: ...

    def output(self, name: str, line: str) -> None: ...

    def note(self, text: str) -> None:
        self.told.append(text)


def test_a_sound_one_passes_in_silence() -> None:
    notes = Notes()
    refuse_errors(sound(), PATH, notes, ignore=())
    assert notes.told == []


def test_errors_are_all_named_with_what_to_do() -> None:
    document = changed({("metadata", "name"): "abc", (*CONTAINER, "envFrom"): GONE})
    with pytest.raises(LintError) as caught:
        refuse_errors(document, PATH, Notes(), ignore=())
    said = str(caught.value)
    assert "flow.json was not written" in said
    assert "AIC002 metadata.name: the name 'abc'" in said
    assert "rename its class" in said
    assert "AIC031 spec.templates[1].container.envFrom: " in said
    refuse_errors(document, PATH, Notes(), ignore=("AIC002", "AIC031"))


def test_warnings_are_told_once_for_each_code() -> None:
    notes = Notes()
    document = changed(
        {
            (*METAFLOW, "metadata"): GONE,
            (*BY_HAND, "metadata"): GONE,
            (*HAND_CONTAINER, "image"): "docker.io/a/b:1",
            ("metadata", "labels", "executables.ai.sap.com/id"): "only a note",
            ("metadata", "labels", "x"): "y",
        }
    )
    refuse_errors(document, PATH, notes, ignore=("AIC022", "KUB001"))
    assert [note.split(":")[0] for note in notes.told] == ["AIC009", "AIC021"]
    assert "step has neither" in notes.told[0]
    assert "by-hand has neither" in notes.told[0]
    assert "`resource-plan`" in notes.told[0]


def test_what_the_tool_writes_has_no_finding() -> None:
    settings = Settings(
        scenario_id="sweeps", scenario_name="Sweeps", version="1.0", resource_plan="basic"
    )
    flow = sweep_flow()
    images = {step.name: f"registry.example.com/acme/a:v1@{DIGEST}" for step in flow.steps}
    for name in ("embedded", "generated"):
        document = complete(recorded(name), plan_completion(flow, settings), images)
        assert lint(document) == ()
