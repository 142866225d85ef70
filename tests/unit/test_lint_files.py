"""The command `lint`, end to end, and the files that it reads."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from aicore_build.cli import main
from aicore_build.errors import LintError
from aicore_build.lint.files import lint_files
from aicore_build.workflow import Json, render_json
from tests.unit.make import a_lock
from tests.unit.templates import CONTAINER, GONE, HAND_CONTAINER, Change, changed, sound

FLOW = "from metaflow import FlowSpec\nclass F(FlowSpec): ...\n"
BROKEN: Change = {(*CONTAINER, "envFrom"): GONE}
DOUBTFUL: Change = {("spec", "activeDeadlineSeconds"): GONE}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, document: Json | str) -> Path:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    if isinstance(document, dict):
        document = render_json(document) if path.suffix == ".json" else yaml.safe_dump(document)
    path.write_text(document, encoding="utf-8")
    return path


def line_of(path: Path, text: str) -> int:
    """The first line that begins with a text, apart from spaces, counted from 1."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(i for i, line in enumerate(lines, 1) if line.strip().startswith(text))


def lint(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["lint", *arguments], input=stdin)


def codes(*paths: str, strict: bool = False) -> list[tuple[str, str, int | None]]:
    report = lint_files(map(Path, paths), ignore=frozenset(), strict=strict)
    return [(placed.file, placed.finding.code, placed.line) for placed in report.findings]


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_a_sound_one(name: str) -> None:
    write(name, sound())
    answer = lint(name)
    assert (answer.exit_code, answer.stdout) == (0, "")
    assert answer.stderr == "0 errors, 0 warnings, 0 notes in 1 workflow template (1 file)\n"


def test_an_error_is_text_with_why_and_fix_and_exit_code_13() -> None:
    line = line_of(write("a.json", changed(BROKEN)), '"container": {')
    answer = lint("a.json")
    assert answer.exit_code == LintError.exit_code == 13
    place, message, why, fix = answer.stdout.splitlines()[1:]
    assert answer.stdout.splitlines()[0] == "a.json"
    assert place.split() == [f"{line}:17", "error", "AIC031", "spec.templates[1].container.envFrom"]
    assert message.strip() == "step has no secret of the object store"
    assert why.startswith("      Why: A step reads and writes S3")
    assert fix.startswith("      Fix: Set `object-store-secret`")
    assert answer.stderr.startswith(
        "Error: 1 error, 0 warnings, 0 notes in 1 workflow template (1 file).\n"
    )


@pytest.mark.parametrize(
    ("change", "arguments", "code"),
    [
        pytest.param(BROKEN, (), 13, id="error"),
        pytest.param(BROKEN, ("--ignore", "AIC031"), 0, id="ignored"),
        pytest.param(DOUBTFUL, (), 0, id="warning"),
        pytest.param(DOUBTFUL, ("--strict",), 13, id="strict"),
        pytest.param(DOUBTFUL, ("--strict", "--ignore", "AIC022"), 0, id="strict, ignored"),
        pytest.param(DOUBTFUL, ("--strict", "--lint-ignore", "AIC022"), 0, id="setting"),
        pytest.param({**BROKEN, **DOUBTFUL}, ("--ignore=AIC022", "--ignore=AIC031"), 0, id="two"),
        pytest.param(
            {("metadata", "labels", "executables.ai.sap.com/id"): "x"},
            ("--strict",),
            0,
            id="a note is never bad",
        ),
    ],
)
@pytest.mark.parametrize("form", ["text", "json", "sarif", "github"])
def test_exit_codes(change: Any, arguments: tuple[str, ...], code: int, form: str) -> None:  # noqa: ANN401
    write("a.yaml", changed(change))
    answer = lint("a.yaml", "--format", form, *arguments)
    assert answer.exit_code == code
    if form in ("json", "sarif"):
        json.loads(answer.stdout)


def test_codes_that_the_settings_leave_out() -> None:
    write("aicore-build.toml", 'lint-ignore = ["AIC031"]\n')
    write("a.json", changed(BROKEN))
    assert lint("a.json").exit_code == 0
    write("aicore-build.toml", 'lint-ignore = ["AIC31"]\n')
    answer = lint("a.json")
    assert answer.exit_code == 3
    assert "There is no lint code AIC31. Did you mean AIC031?" in answer.stderr


def test_json() -> None:
    write("a.yaml", changed(DOUBTFUL))
    answer = lint("a.yaml", "--json")
    assert answer.stdout == lint("a.yaml", "--format", "json").stdout
    found = json.loads(answer.stdout)
    (finding,) = found.pop("findings")
    assert found == {
        "schema": 1,
        "command": "lint",
        "ok": True,
        "files": ["a.yaml"],
        "checked": 1,
    }
    assert finding["file"] == "a.yaml"
    assert finding["severity"] == "warning"
    assert finding["path"] == "spec.activeDeadlineSeconds"
    assert finding.keys() == {
        *("file", "document", "line", "column", "code", "severity"),
        *("path", "message", "why", "fix"),
    }
    assert json.loads(lint("a.yaml", "--json", "--strict").stdout)["ok"] is False


def test_several_documents_in_a_file() -> None:
    broken = changed({**BROKEN, ("metadata", "name"): "other"})
    write("a.yaml", f"{yaml.safe_dump(sound())}---\n{yaml.safe_dump(broken)}")
    line = yaml.safe_dump(sound()).count("\n") + 1
    ((file, code, found),) = codes("a.yaml")
    assert (file, code) == ("a.yaml", "AIC031")
    assert found
    assert found > line


def test_two_of_one_name_are_an_error_at_the_second() -> None:
    write("a.json", sound())
    write("b.yaml", sound())
    write("c.json", changed({("metadata", "name"): "another"}))
    ((file, code, line),) = codes("a.json", "b.yaml", "c.json")
    assert (file, code) == ("b.yaml", "AIC003")
    assert Path("b.yaml").read_text().splitlines()[(line or 0) - 1].strip() == "name: trainflow"
    assert codes("b.yaml") == []
    assert "in a.json" in lint("a.json", "b.yaml").stdout
    assert lint("a.json", "b.yaml", "--ignore", "AIC003").exit_code == 0


def test_a_folder_is_all_that_it_holds_but_folders() -> None:
    lock = write("deploy/a.json", sound())
    write("deploy/a.lock.json", json.dumps(a_lock(lock).as_json()))
    other = write("deploy/b.yml", changed({**BROKEN, ("metadata", "name"): "other"}))
    write("deploy/readme.md", "no: [")
    write("deploy/more.yaml", "apiVersion: ai.sap.com/v1alpha1\nkind: ServingTemplate\n")
    Path("deploy/x.yaml").mkdir()
    report = lint_files([Path("deploy")], ignore=frozenset(), strict=False)
    names = ("a.json", "a.lock.json", "b.yml", "more.yaml")
    assert report.files == tuple(f"deploy/{name}" for name in names)
    assert report.checked == 2
    assert codes("deploy") == [
        ("deploy/b.yml", "AIC031", line_of(other, "- container:")),
        ("deploy/more.yaml", "AIC032", 2),
    ]


def test_a_folder_without_any() -> None:
    Path("deploy").mkdir()
    answer = lint("deploy")
    assert answer.exit_code == 13
    assert "The folder deploy holds no file that ends in .json, .yaml, .yml" in answer.stderr


def test_the_lock_alone_has_no_finding() -> None:
    write("a.lock.json", json.dumps(a_lock(write("a.json", sound())).as_json()))
    assert codes("a.lock.json") == []


def test_stdin() -> None:
    file = write("a.json", changed(BROKEN))
    answer = lint("-", stdin=file.read_text())
    assert answer.exit_code == 13
    assert answer.stdout.splitlines()[0] == "<stdin>"
    assert answer.stdout.splitlines()[1:] == lint("a.json").stdout.splitlines()[1:]


@pytest.mark.parametrize(
    ("name", "text", "line", "says"),
    [
        pytest.param("a.yaml", "a:\n\tb: 1\n", 2, "indented with a tab", id="tab"),
        pytest.param("a.yaml", "a: 1\na: 2\n", 2, "the key 'a' is there twice", id="twice"),
        pytest.param("a.json", '{"a": 1,}', 1, "no JSON", id="json"),
    ],
)
def test_what_cannot_be_read_is_a_finding(name: str, text: str, line: int, says: str) -> None:
    write(name, text)
    write("b.yaml", changed(BROKEN))
    assert [code for _, code, _ in codes(name, "b.yaml")] == ["AIC028", "AIC031"]
    assert codes(name) == [(name, "AIC028", line)]
    answer = lint(name)
    assert answer.exit_code == 13
    assert says in answer.stdout
    assert lint(name, "--ignore", "AIC028").exit_code == 0


def test_what_is_no_text_is_a_finding() -> None:
    Path("a.yaml").write_bytes(b"a: \xff\n")
    assert codes("a.yaml") == [("a.yaml", "AIC028", None)]
    assert "no text in UTF-8, at byte 3" in lint("a.yaml").stdout


def test_a_byte_order_mark_is_none_of_the_text() -> None:
    Path("a.yaml").write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(sound()).encode())
    assert codes("a.yaml") == []


def test_an_unquoted_version_is_a_number() -> None:
    text = yaml.safe_dump(sound(), default_style=None).replace("version: '1.0'", "version: 1.0")
    write("a.yaml", text)
    answer = lint("a.yaml")
    assert [code for _, code, _ in codes("a.yaml")] == ["AIC005"]
    assert "a number (1.0, without quotes), not text" in answer.stdout


def test_structure_is_not_said_again_where_a_rule_has_said_it() -> None:
    number: Change = {(*HAND_CONTAINER, "env", 0, "value"): 3}
    write("a.yaml", changed(number))
    assert [code for _, code, _ in codes("a.yaml")] == ["KUB004"]
    write("a.yaml", changed({("spec", "parallelism"): "3", ("spec", "entrypoints"): "x"}))
    assert {code for _, code, _ in codes("a.yaml")} == {"ARG101", "ARG102"}
    assert lint("a.yaml", "--ignore", "ARG101").exit_code == 0


def test_a_missing_file_is_named() -> None:
    answer = lint("nobody.yaml")
    assert answer.exit_code == 2
    assert "nobody.yaml" in answer.stderr


def test_the_flows_own_workflow_template() -> None:
    write("trainflow.py", FLOW)
    answer = lint()
    assert answer.exit_code == 13
    assert "There is no workflow template" in answer.stderr
    assert "`aicore-build prod` writes it" in answer.stderr
    write("trainflow-dev.json", changed(BROKEN))
    assert "AIC031" in lint().stdout
    write("trainflow.json", sound())
    assert lint().exit_code == 0
    write("elsewhere.json", changed(BROKEN))
    assert "AIC031" in lint("--output", "elsewhere.json").stdout


def test_settings_are_those_of_the_flow_that_is_named() -> None:
    write("flows/trainflow.py", FLOW)
    write("flows/aicore-build.toml", 'lint-ignore = ["AIC031"]\n')
    write("a.json", changed(BROKEN))
    assert lint("a.json").exit_code == 13
    assert lint("a.json", "--flow", "flows/trainflow.py").exit_code == 0
