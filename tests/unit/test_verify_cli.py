import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from click.testing import Result as Answer

from aicore_build.cli import main
from aicore_build.errors import EngineError, VerifyError
from aicore_build.progress import Reporter
from aicore_build.settings import Settings
from aicore_build.verify.options import Options
from aicore_build.verify.report import Report
from aicore_build.verify.text import render_text
from tests import pages


class Here:
    """A folder in which `verify` runs; how it ends is the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        monkeypatch.chdir(folder)
        monkeypatch.setattr("aicore_build.verify.verify.verify", self._verify)
        self.folder = folder
        self.outcome: Report | Exception = pages.two_steps()
        self.calls: list[tuple[Path, Settings, Options]] = []

    def _verify(
        self, path: Path, settings: Settings, options: Options, _reporter: Reporter
    ) -> Report:
        self.calls.append((path, settings, options))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def run(self, *arguments: str) -> Answer:
        return CliRunner().invoke(main, ["verify", *arguments])


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Here:
    return Here(monkeypatch, tmp_path)


def test_what_runs_is_shown_and_is_no_failure(here: Here) -> None:
    answer = here.run("flow.json")
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert answer.stdout == f"{render_text(pages.two_steps())}\n"
    ((path, _, options),) = here.calls
    assert (path, options) == (Path("flow.json"), Options())


def test_all_options_are_handed_on(here: Here) -> None:
    words = ["--quick", "--writable-root", "--network", "net", "--logs", "logs"]
    words += ["--parameter", "a=b=c d", "--parameter", "e=", "--secret", "s=x/s.env"]
    answer = here.run("flow.json", *words, "--jobs", "3")
    assert answer.exit_code == 0, answer.output
    ((_, settings, options),) = here.calls
    assert settings.jobs == 3
    assert options == Options(
        quick=True,
        parameters={"a": "b=c d", "e": ""},
        secrets={"s": Path("x/s.env")},
        writable_root=True,
        network="net",
        logs=Path("logs"),
    )


@pytest.mark.parametrize(
    ("option", "form"), [("--parameter", "NAME=VALUE"), ("--secret", "NAME=FILE")]
)
@pytest.mark.parametrize("text", ["a", "=b", ""])
def test_what_is_no_pair_is_wrong_usage(here: Here, option: str, form: str, text: str) -> None:
    answer = here.run("flow.json", option, text)
    assert answer.exit_code == 2
    assert f"Invalid value for '{option}': {text!r} is not {form}." in answer.stderr
    assert here.calls == []


@pytest.mark.parametrize("name", ["failed", "hostile"])
def test_what_would_fail_is_exit_code_14(here: Here, name: str) -> None:
    here.outcome = pages.PAGES[name]()
    answer = here.run("flow.json")
    assert answer.exit_code == VerifyError.exit_code == 14
    assert answer.stdout.endswith("would fail on SAP AI Core.\n")


@pytest.mark.parametrize(("name", "code"), [("nested", 0), ("quick", 0), ("failed", 14)])
def test_one_json_document(here: Here, name: str, code: int) -> None:
    here.outcome = report = pages.PAGES[name]()
    answer = here.run("flow.json", "--json")
    assert answer.exit_code == code
    document: dict[str, Any] = json.loads(answer.stdout)
    assert document == json.loads(json.dumps(report.as_json()))
    assert (document["schema"], document["command"], document["ok"]) == (1, "verify", code == 0)
    assert document["template"] == str(report.template)
    assert [run["name"] for run in document["runs"]] == [run.name for run in report.runs]
    assert [found["path"] for found in document["findings"]] == [
        found.where for found in report.findings
    ]


def test_the_page_is_written_also_of_what_would_fail(here: Here) -> None:
    here.outcome = pages.failed()
    answer = here.run("flow.json", "--html", "out/report.html")
    assert answer.exit_code == 14
    text = (here.folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "train-model(0)(0)" in text


def test_what_could_not_be_verified_has_its_own_exit_code(here: Here) -> None:
    here.outcome = EngineError("No engine.\nStart it.")
    answer = here.run("flow.json", "--json")
    assert (answer.exit_code, answer.stdout) == (EngineError.exit_code, "")
    assert answer.stderr == "Error: No engine.\nStart it.\n"


def test_the_settings_are_those_of_the_folder(here: Here) -> None:
    (here.folder / "aicore-build.toml").write_text('jobs = 7\nlint-ignore = ["AIC001"]')
    assert here.run("elsewhere/flow.json").exit_code == 0
    ((path, settings, _),) = here.calls
    assert path == Path("elsewhere/flow.json")
    assert (settings.jobs, settings.lint_ignore) == (7, ("AIC001",))


def test_without_a_file_it_is_the_flows(here: Here) -> None:
    code = "from metaflow import FlowSpec\nclass F(FlowSpec): ...\n"
    (here.folder / "trainflow.py").write_text(code, encoding="utf-8")
    (here.folder / "trainflow.json").write_text("{}", encoding="utf-8")
    assert here.run("--quick").exit_code == 0
    ((path, _, options),) = here.calls
    assert path == here.folder.resolve() / "trainflow.json"
    assert options.quick
