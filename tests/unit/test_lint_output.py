import json
from typing import Any

import pytest

from aicore_build.lint.finding import Finding, Severity
from aicore_build.lint.output import Format, render
from aicore_build.lint.report import LintReport, PlacedFinding
from aicore_build.lint.rules import BY_CODE, RULES


def placed(
    code: str = "AIC009",
    *,
    file: str = "deploy/a b.yaml",
    line: int | None = 3,
    message: str = "step has none",
) -> PlacedFinding:
    finding = Finding(
        code=code,
        severity=BY_CODE[code].severity,
        path=("spec", "templates", 1),
        message=message,
        why="Why not.",
        fix="Mend it.",
    )
    return PlacedFinding(file=file, document=1, line=line, column=line and 5, finding=finding)


def report(*findings: PlacedFinding, strict: bool = False) -> LintReport:
    files = tuple(dict.fromkeys(one.file for one in findings))
    return LintReport(files=files, checked=2, findings=findings, strict=strict)


def test_text_is_by_file_and_explains_a_code_once() -> None:
    first = placed()
    again = placed(line=None)
    other = placed("AIC005", file="b.json", message="no version")
    assert render(report(first, again, other), Format.TEXT).splitlines() == [
        "deploy/a b.yaml",
        "  3:5  warning AIC009  spec.templates[1]",
        "      step has none",
        "      Why: Why not.",
        "      Fix: Mend it.",
        "  -  warning AIC009  spec.templates[1]",
        "      step has none",
        "b.json",
        "  3:5  error AIC005  spec.templates[1]",
        "      no version",
        "      Why: Why not.",
        "      Fix: Mend it.",
    ]


@pytest.mark.parametrize("form", [Format.TEXT, Format.GITHUB])
def test_nothing_is_nothing(form: Format) -> None:
    assert render(report(), form) == ""


def test_commands_of_github_are_escaped() -> None:
    one = placed(file="a,b:c%.yaml", message="100%\r\nsure: a,b")
    assert render(report(one), Format.GITHUB) == (
        "::warning file=a%2Cb%3Ac%25.yaml,line=3,col=5,title=AIC009 spec.templates[1]"
        "::100%25%0D%0Asure: a,b. Mend it."
    )


def test_commands_of_github_for_each_severity() -> None:
    commands = render(
        report(placed("AIC005"), placed("AIC009"), placed("AIC008", line=None)), Format.GITHUB
    ).splitlines()
    assert [command.split(" ")[0] for command in commands] == ["::error", "::warning", "::notice"]
    assert "line=" not in commands[2]
    assert "col=" not in commands[2]


def sarif(*findings: PlacedFinding) -> Any:  # noqa: ANN401
    return json.loads(render(report(*findings), Format.SARIF))


def test_sarif_has_what_its_schema_requires() -> None:
    document = sarif(placed())
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "aicore-build"
    assert [rule["id"] for rule in driver["rules"]] == [rule.code for rule in RULES]
    levels = {"error", "warning", "note"}
    for rule in driver["rules"]:
        assert rule["defaultConfiguration"]["level"] in levels
        assert all(rule[key]["text"] for key in ("shortDescription", "fullDescription", "help"))
    (result,) = run["results"]
    assert result["ruleId"] == driver["rules"][result["ruleIndex"]]["id"] == "AIC009"
    assert result["level"] == "warning"
    assert result["message"] == {"text": "step has none. Mend it."}
    (location,) = result["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "deploy/a%20b.yaml"},
        "region": {"startLine": 3, "startColumn": 5},
    }
    assert location["logicalLocations"] == [{"fullyQualifiedName": "spec.templates[1]"}]


def test_sarif_without_a_line_has_no_region_and_an_absolute_path_is_an_address() -> None:
    (result,) = sarif(placed(file="/a b.yaml", line=None))["runs"][0]["results"]
    physical = result["locations"][0]["physicalLocation"]
    assert physical == {"artifactLocation": {"uri": "file:///a%20b.yaml"}}


def test_sarif_of_nothing_has_results_all_the_same() -> None:
    assert sarif()["runs"][0]["results"] == []


def test_a_summary_counts() -> None:
    found = report(placed("AIC005"), placed("AIC009"), placed("AIC009"), placed("AIC008"))
    assert found.summary == "1 error, 2 warnings, 1 note in 2 workflow templates (1 file)"
    assert found.count(Severity.WARNING) == 2
