import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from click.testing import Result as Answer

from aicore_build import __version__, errors
from aicore_build.check_lock import CheckedImage, LockCheck
from aicore_build.cli import EXIT_CODES, INTERRUPTED, TERMINATED, main
from aicore_build.errors import AicoreBuildError, PackageError
from aicore_build.lock import file_sha256
from aicore_build.overview import Overview
from aicore_build.plan import plan_images
from aicore_build.reference import DigestReference, parse_reference
from aicore_build.result import BuiltImage, Result
from aicore_build.settings import Settings
from tests.unit.make import CPU, DIGEST, a_lock, make_flow, sweep_flow

COMMANDS = ("dev", "prod", "plan", "render", "check-lock", "package")
"""With `lint` and `verify`, which have tests of their own, all that there are."""

HELP = [(), *((name,) for name in (*COMMANDS, "lint", "verify"))]
ERRORS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, AicoreBuildError)
]
PROD = {"push": True, "locked": False, "offline": False}
FLOW = "from metaflow import FlowSpec\nclass F(FlowSpec): ...\n"


class Here:
    """A folder with a flow, in which commands run whose work is done by a function of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        monkeypatch.chdir(folder)
        self._monkeypatch = monkeypatch
        self.folder = folder
        self.called_with: list[Any] = []
        (folder / "trainflow.py").write_text(FLOW, encoding="utf-8")

    def run(self, command: str, outcome: object, *arguments: str) -> Answer:
        def work(*given: object, **options: object) -> object:
            self.called_with = [*given, options]
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        other = {"plan": "overview", "package": "contents"}
        module = other.get(command, command.replace("-", "_"))
        self._monkeypatch.setattr(f"aicore_build.{module}.{module}", work)
        return CliRunner().invoke(main, [command, *arguments])


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Here:
    return Here(monkeypatch, tmp_path)


def an_overview() -> Overview:
    images = plan_images(sweep_flow(), Settings())
    return Overview(flow=sweep_flow(), images=images, notes=("look here",))


def a_result(template: Path | None) -> Result:
    reference = parse_reference(CPU)
    pushed = BuiltImage(
        reference=reference, steps=("a",), built=True, base_image=None, digest=DIGEST
    )
    kept = BuiltImage(reference=reference, steps=("b",), built=True, base_image=None, digest=None)
    return Result(
        command="prod",
        flow=make_flow(),
        images=(pushed, kept),
        package=None,
        workflow_template=template,
    )


@pytest.mark.parametrize("command", HELP, ids=" ".join)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(command: tuple[str, ...], flag: str) -> None:
    answer = CliRunner().invoke(main, [*command, flag])
    assert answer.exit_code == 0
    assert answer.stdout.startswith("Usage: ")
    assert answer.stderr == ""


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from aicore_build.cli import main
for command in main.commands:
    main([command, "--help"], standalone_mode=False)
main(["--help"], standalone_mode=False)
heavy = {"docker", "boto3", "botocore", "jinja2", "rich", "metaflow", "requests", "hera", "yaml"}
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert done.stdout.count("Usage: ") == len(HELP)


def test_version() -> None:
    assert __version__ in CliRunner().invoke(main, ["--version"]).stdout


def test_each_kind_of_error_has_its_own_exit_code_in_the_help() -> None:
    codes = [kind.exit_code for kind in ERRORS]
    assert len(set(codes)) == len(codes) > 8
    listed = [int(code) for code in re.findall(r"^ +(\d+)  \S", EXIT_CODES, re.MULTILINE)]
    assert listed == sorted(set(listed))
    assert {0, 2, INTERRUPTED, TERMINATED, *codes} <= set(listed)
    shown = CliRunner().invoke(main, ["--help"]).stdout
    assert re.findall(r"^ +(\d+)  \S", shown, re.MULTILINE) == [str(code) for code in listed]


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("command", COMMANDS)
def test_an_error_is_a_message_and_its_exit_code(
    here: Here, command: str, kind: type[AicoreBuildError]
) -> None:
    answer = here.run(command, kind("What failed.\nWhat to do."), "--json")
    assert answer.exit_code == kind.exit_code
    assert answer.stderr == "Error: What failed.\nWhat to do.\n"
    assert answer.stdout == ""


def test_debug_shows_the_traceback_too(here: Here) -> None:
    here.run("plan", PackageError("What failed."))
    answer = CliRunner().invoke(main, ["--debug", "plan"])
    assert answer.exit_code == PackageError.exit_code
    assert "Traceback (most recent call last):" in answer.stderr
    assert answer.stderr.endswith("Error: What failed.\n")


def test_ctrl_c(here: Here) -> None:
    answer = here.run("dev", KeyboardInterrupt())
    assert answer.exit_code == 130
    assert answer.stderr == "Interrupted. The command can simply be run again.\n"


def test_a_bug_crashes(here: Here) -> None:
    answer = here.run("plan", ZeroDivisionError("a bug"))
    assert isinstance(answer.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["deploy"], id="no such command"),
        pytest.param(["plan", "--colour"], id="no such flag"),
        pytest.param(["plan", "trainflow.py"], id="an argument too many"),
        pytest.param(["dev", "--images", "x"], id="a table is no flag"),
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_settings_that_are_wrong_end_with_their_exit_code(here: Here) -> None:
    answer = here.run("plan", an_overview(), "--jobs", "many")
    assert answer.exit_code == 3
    assert "Error: --jobs is 'many', but has to be a whole number" in answer.stderr


def test_a_folder_without_a_flow(here: Here) -> None:
    (here.folder / "trainflow.py").unlink()
    answer = here.run("plan", an_overview())
    assert answer.exit_code == 4
    assert "--flow" in answer.stderr


def test_the_one_flow_of_the_folder_is_taken(here: Here) -> None:
    (here.folder / "aicore-build.toml").write_text("jobs = 2", encoding="utf-8")
    here.run("plan", an_overview())
    script, settings = here.called_with[:2]
    assert script == here.folder / "trainflow.py"
    assert settings.jobs == 2


def test_the_flow_of_the_settings_is_taken(here: Here) -> None:
    (here.folder / "other.py").write_text(FLOW, encoding="utf-8")
    (here.folder / "aicore-build.toml").write_text('flow = "other.py"', encoding="utf-8")
    here.run("plan", an_overview())
    assert here.called_with[0] == here.folder / "other.py"


@pytest.mark.parametrize("by_flag", [True, False])
def test_a_given_flow_brings_its_own_settings(
    here: Here, monkeypatch: pytest.MonkeyPatch, *, by_flag: bool
) -> None:
    (here.folder / "sub").mkdir()
    (here.folder / "sub" / "aicore-build.toml").write_text("jobs = 7", encoding="utf-8")
    (here.folder / "aicore-build.toml").write_text("jobs = 2", encoding="utf-8")
    if not by_flag:
        monkeypatch.setenv("AICORE_BUILD_FLOW", "sub/flow.py")
    here.run("plan", an_overview(), *(["--flow", "sub/flow.py"] if by_flag else []))
    script, settings = here.called_with[:2]
    assert script == Path("sub/flow.py")
    assert settings.jobs == 7


def test_plan_as_json_is_one_document_on_stdout(here: Here) -> None:
    answer = here.run("plan", an_overview(), "--json")
    assert json.loads(answer.stdout) == an_overview().as_json()
    assert answer.stderr == ""


def test_plan_for_people_has_its_notes_on_stderr(here: Here) -> None:
    answer = here.run("plan", an_overview())
    assert answer.stdout == an_overview().as_table(wide=True)
    assert answer.stderr == "Note: look here\n"


def test_plan_asks_nobody_unless_it_is_to_explain(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def explain(*given: object) -> tuple[()]:
        asked.extend(given)
        return ()

    monkeypatch.setattr("aicore_build.explain.explain", explain)
    here.run("plan", an_overview())
    assert asked == []
    answer = here.run("plan", an_overview(), "--explain", "--json")
    assert asked[:2] == [an_overview().flow, an_overview().images]
    assert json.loads(answer.stdout) == an_overview().as_json()


@pytest.mark.parametrize("command", ["dev", "prod"])
def test_results_are_a_line_each(here: Here, command: str) -> None:
    template = here.folder / "trainflow.json"
    answer = here.run(command, a_result(template))
    assert answer.stdout == f"{CPU}@{DIGEST}\n{CPU}\n{template}\n"
    assert here.run(command, a_result(None)).stdout == f"{CPU}@{DIGEST}\n{CPU}\n"


@pytest.mark.parametrize("command", ["dev", "prod"])
def test_results_as_json_are_one_document(here: Here, command: str) -> None:
    answer = here.run(command, a_result(None), "--json")
    assert json.loads(answer.stdout) == a_result(None).as_json()


@pytest.mark.parametrize(
    ("command", "flags", "options"),
    [
        pytest.param("dev", [], {"push": True, "template": True}, id="dev"),
        pytest.param("dev", ["--no-push"], {"push": False, "template": True}, id="dev --no-push"),
        pytest.param("dev", ["--no-template"], {"push": True, "template": False}, id="no template"),
        pytest.param("prod", [], PROD, id="prod"),
        pytest.param("prod", ["--no-push"], {**PROD, "push": False}, id="prod --no-push"),
        pytest.param("prod", ["--force"], {**PROD, "force": True}, id="prod --force"),
        pytest.param("prod", ["--offline"], {**PROD, "offline": True}, id="prod --offline"),
        pytest.param("prod", ["--locked"], {**PROD, "locked": True}, id="prod --locked"),
        pytest.param(
            "prod",
            ["--push-to", "oci:/images"],
            {**PROD, "push_to": Path("/images")},
            id="prod --push-to",
        ),
    ],
)
def test_flags_reach_the_command(
    here: Here, command: str, flags: list[str], options: dict[str, bool]
) -> None:
    here.run(command, a_result(None), *flags)
    assert here.called_with[-1] == {"force": False, **options}


def test_render(here: Here) -> None:
    folders = {"a:1": "x/dev/a-1", "b:1": "x/dev/b-1"}
    assert here.run("render", folders).stdout == "x/dev/a-1\nx/dev/b-1\n"
    assert here.called_with[3:] == [Path(".aicore-build"), {"embed": False}]
    answer = here.run("render", folders, "x", "--prod", "--json")
    assert json.loads(answer.stdout) == {"schema": 1, "command": "render", "folders": folders}
    assert here.called_with[3:] == [Path("x"), {"embed": True}]


def a_check(folder: Path, *, there: bool) -> LockCheck:
    """Of a lock whose image may be gone, and whose tag certainly is."""
    reference = parse_reference(f"{CPU}@{DIGEST}")
    assert isinstance(reference, DigestReference)
    template = folder / "trainflow.json"
    template.touch()
    return LockCheck(
        path=folder / "trainflow.lock.json",
        lock=a_lock(template),
        images=(CheckedImage(variant="prod", reference=reference, there=there, tag_digest=None),),
        template=template,
        template_sha256=file_sha256(template),
        named={},
    )


def test_check_lock_says_that_all_is_there_and_warns(here: Here) -> None:
    answer = here.run("check-lock", a_check(here.folder, there=True))
    assert answer.exit_code == 0
    assert answer.stdout.startswith(f"{here.folder / 'trainflow.lock.json'}: ")
    assert answer.stderr == f"Warning: {CPU} points to nothing now, no longer to {DIGEST}.\n"


def test_check_lock_that_fails_has_its_document_too(here: Here) -> None:
    found = a_check(here.folder, there=False)
    answer = here.run("check-lock", found)
    assert (answer.exit_code, answer.stdout) == (12, "")
    assert f"The prod image {CPU}@{DIGEST} is not in its registry" in answer.stderr
    answer = here.run("check-lock", found, "--json")
    assert answer.exit_code == 12
    assert json.loads(answer.stdout) == found.as_json()


def test_check_lock_finds_the_lock_of_the_flow(here: Here) -> None:
    (here.folder / "aicore-build.toml").write_text("jobs = 2", encoding="utf-8")
    here.run("check-lock", a_check(here.folder, there=True))
    path, settings = here.called_with[:2]
    assert path == here.folder.resolve() / "trainflow.lock.json"
    assert settings.jobs == 2


def test_check_lock_of_a_file_looks_for_no_flow(here: Here) -> None:
    (here.folder / "aicore-build.toml").write_text("jobs = 2", encoding="utf-8")
    (here.folder / "trainflow.py").unlink()
    here.run("check-lock", a_check(here.folder, there=True), "deploy/x.lock.json")
    path, settings = here.called_with[:2]
    assert path == Path("deploy/x.lock.json")
    assert settings.jobs == 2


@pytest.mark.parametrize("command", ["plan", "dev", "prod"])
def test_what_stands_behind_two_hyphens_goes_to_metaflow(here: Here, command: str) -> None:
    (here.folder / "aicore-build.toml").write_text('metaflow-options = ["--with", "retry"]')
    outcome = an_overview() if command == "plan" else a_result(None)
    words = ["--config", "c", "f.json", "--branch=a,b"]
    answer = here.run(command, outcome, "--jobs", "2", "--", *words)
    assert answer.exit_code == 0, answer.output
    settings = here.called_with[1]
    assert settings.metaflow_options == ("--with", "retry", *words)
    assert settings.jobs == 2
