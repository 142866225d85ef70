from dataclasses import replace

import pytest

from aicore_build.verify.report import Check, Failure, Outcome, Report
from aicore_build.verify.text import render_text
from tests import pages

FAILED = {"outcome": Outcome.FAILED, "exit_code": 1}
STOPPED = {"outcome": Outcome.STOPPED, "exit_code": None, "peak_memory": None}


def lines(report: Report) -> list[str]:
    return render_text(report).splitlines()


def test_what_went_well() -> None:
    assert lines(pages.two_steps()) == [
        f"image {pages.CPU} (412 MB): start, end",
        "  ✓ /user/home, the WORKDIR, can be written to",
        "  ✓ boto3 and requests are there",
        "step start: succeeded after 2.1 s, 132 MB at most",
        "step end: succeeded after 1.9 s, 128 MB at most",
        "note: The secret default-object-store-secret was made from this machine's variables.",
        "trainflow ran to its end: 2 steps, 2 containers.",
    ]


def test_a_step_of_several_attempts_is_counted_once() -> None:
    runs = (
        pages.run("start", 0, 1, **FAILED, peak_memory=None),
        pages.run("start", 1, 1, attempt=1, peak_memory=None),
    )
    assert lines(pages.report([], runs, images=(), notes=())) == [
        "step start: failed after 1.0 s, exit code 1",
        "step start: succeeded after 1.0 s, attempt 2",
        "trainflow ran to its end: 1 steps, 2 containers.",
    ]


def test_a_failure_is_last_with_what_to_do() -> None:
    failure = Failure(subject="start", cause="It has no jq.", fix="Add it.", tail=("one", "", "2"))
    runs = (pages.run("start", 0, 1, **FAILED), pages.run("b", 0, 1, **STOPPED))
    found = lines(pages.report([], runs, images=(), notes=(), failure=failure))
    assert found[1:] == [
        "step b: stopped after 1.0 s",
        "The first failure: start",
        "    one",
        "",
        "    2",
        "  It has no jq.",
        "  Add it.",
        "trainflow would fail on SAP AI Core.",
    ]


def test_an_image_with_a_problem() -> None:
    check = Check(name="flow", about="imports the flow", problem="It says:\nno", fix="Mend it.")
    image = pages.image(pages.CPU, "start", checks=[check])
    found = lines(replace(pages.quick(), images=(image,)))
    assert found[3:6] == ["  ✗ It says:", "  no", "    Mend it."]
    assert "imports the flow" not in "\n".join(found)
    assert found[-1] == "trainflow would fail on SAP AI Core."


def test_a_quick_one_does_not_say_that_anything_ran() -> None:
    assert lines(pages.quick())[-1] == "trainflow: its steps can run in its images."


def test_findings_come_first() -> None:
    found = lines(pages.failed())
    assert found[0].startswith("error AIC003 ")
    assert "The label scenarios.ai.sap.com/id is missing." in found[0]
    assert found[1] == "  Set scenario-id in aicore-build.toml."


@pytest.mark.parametrize("name", pages.PAGES)
def test_every_report_ends_with_the_verdict(name: str) -> None:
    report = pages.PAGES[name]()
    assert ("would fail" in lines(report)[-1]) is not report.ok
