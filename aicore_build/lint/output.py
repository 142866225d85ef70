"""A report as text, JSON, SARIF 2.1.0, or as commands for GitHub's log."""

import itertools
import json
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, assert_never
from urllib.parse import quote

from aicore_build import __version__
from aicore_build.lint.finding import Severity
from aicore_build.lint.report import LintReport, PlacedFinding
from aicore_build.lint.rules import RULES


class Format(StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


def render(report: LintReport, form: Format) -> str:
    """A report as it is printed, without the last line's end."""
    match form:
        case Format.TEXT:
            return "\n".join(_text(report))
        case Format.JSON:
            return json.dumps(report.as_json(), indent=2)
        case Format.SARIF:
            return json.dumps(_sarif(report), indent=2)
        case Format.GITHUB:
            return "\n".join(map(_command, report.findings))
        case _:
            assert_never(form)


def _text(report: LintReport) -> Iterator[str]:
    """By file; why and how to mend it at the first of a code."""
    for file, placed in itertools.groupby(report.findings, key=lambda one: one.file):
        yield file
        explained: set[str] = set()
        for one in placed:
            finding = one.finding
            where = f"{one.line}:{one.column}" if one.line else "-"
            yield f"  {where}  {finding.severity} {finding.code}  {finding.where}"
            yield f"      {finding.message}"
            if finding.code not in explained:
                explained.add(finding.code)
                yield f"      Why: {finding.why}"
                yield f"      Fix: {finding.fix}"


_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


def _sarif(report: LintReport) -> dict[str, Any]:
    """https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html"""
    rules = [
        {
            "id": rule.code,
            "shortDescription": {"text": rule.title},
            "fullDescription": {"text": rule.why},
            "help": {"text": rule.fix},
            "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        }
        for rule in RULES
    ]
    driver = {"name": "aicore-build", "semanticVersion": __version__, "rules": rules}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": [_sarif_result(placed) for placed in report.findings],
            }
        ],
    }


_RULE_INDEX = {rule.code: i for i, rule in enumerate(RULES)}


def _sarif_result(placed: PlacedFinding) -> dict[str, Any]:
    finding = placed.finding
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(placed.file)}}
    if placed.line:
        physical["region"] = {"startLine": placed.line, "startColumn": placed.column}
    return {
        "ruleId": finding.code,
        "ruleIndex": _RULE_INDEX[finding.code],
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.message}. {finding.fix}"},
        "locations": [
            {
                "physicalLocation": physical,
                "logicalLocations": [{"fullyQualifiedName": finding.where}],
            }
        ],
    }


def _uri(file: str) -> str:
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def _command(placed: PlacedFinding) -> str:
    """https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands"""
    finding = placed.finding
    properties = {"file": placed.file, "line": placed.line, "col": placed.column}
    properties["title"] = f"{finding.code} {finding.where}"
    given = ",".join(f"{k}={_property(str(v))}" for k, v in properties.items() if v is not None)
    return f"::{_COMMANDS[finding.severity]} {given}::{_data(f'{finding.message}. {finding.fix}')}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
