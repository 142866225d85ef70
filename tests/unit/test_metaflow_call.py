from pathlib import Path

import pytest

from aicore_build import metaflow_call
from aicore_build.errors import FlowError
from aicore_build.metaflow_call import (
    MetaflowCall,
    check_options,
    is_hidden,
    put_first_on_path,
    run_metaflow,
)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="none"),
        pytest.param(("--with", "retry", "--config", "c", "f.json"), id="words"),
        pytest.param(("--package-suffixes=.json",), id="with ="),
        pytest.param(("--metadata=service",), id="metadata"),
    ],
)
def test_options_that_are_passed_on(options: tuple[str, ...]) -> None:
    check_options(options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(("run",), "'run' is no option", id="a sub-command"),
        pytest.param(("--datastore", "local"), "--datastore is given", id="a word"),
        pytest.param(("--with=a", "--environment=pypi"), "--environment is given", id="with ="),
    ],
)
def test_options_that_are_refused(options: tuple[str, ...], said: str) -> None:
    with pytest.raises(FlowError, match=said):
        check_options(options)


@pytest.mark.parametrize(
    ("folder", "hidden"),
    [("/a/.b/c", True), ("/a/b/.c", True), ("/a/b.c", False), ("/a/..b", True), ("/", False)],
)
def test_hidden_folders(folder: str, *, hidden: bool) -> None:
    assert is_hidden(Path(folder)) is hidden


def test_first_on_path() -> None:
    environment: dict[str, str] = {}
    put_first_on_path(environment, Path("/a"))
    put_first_on_path(environment, Path("/b"))
    assert environment == {"PYTHONPATH": "/b:/a"}


@pytest.mark.parametrize(
    ("packages", "stubs", "launchers"),
    [
        pytest.param(None, False, [], id="plain"),
        pytest.param(Path("/made"), False, ["launch.py", "/made"], id="a folder for packages"),
        pytest.param(None, True, ["with_stubs.py"], id="stand-ins"),
        pytest.param(Path("/made"), True, ["launch.py", "/made", "with_stubs.py"], id="both"),
    ],
)
def test_launchers_stand_before_the_flow(
    monkeypatch: pytest.MonkeyPatch, packages: Path | None, stubs: bool, launchers: list[str]
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> str:
        commands.append(command)
        return ""

    monkeypatch.setattr(metaflow_call, "run", run)
    call = MetaflowCall(
        python="/venv/bin/python",
        script=Path("/flows/flow.py"),
        options=("--with", "retry"),
        packages=packages,
        stubs=stubs,
    )
    run_metaflow(call, ["--datastore=s3", "show"], environment={}, timeout=1)
    [[python, *before]] = commands
    flow = before.index("flow.py")
    assert python == "/venv/bin/python"
    assert [Path(part).name for part in before[:flow]] == [Path(part).name for part in launchers]
    assert all(Path(part).is_file() for part in before[:flow] if part.endswith(".py"))
    assert before[flow + 1 : flow + 3] == ["--with", "retry"]
    assert before[-2:] == ["--datastore=s3", "show"]
