from dataclasses import replace
from pathlib import Path

import pytest

from aicore_build.hints import hints, unpackaged_notes, variable_notes
from tests.unit.make import CPU, make_flow


@pytest.mark.parametrize(
    "code",
    [
        pytest.param('open("a.csv")', id="open"),
        pytest.param('Path("a.csv").read_text()', id="Path"),
        pytest.param('pd.read_csv("a.csv", sep=";")', id="read_csv"),
        pytest.param('pd.read_csv(filepath_or_buffer="a.csv")', id="by keyword"),
        pytest.param('joblib.load("a.csv")', id="load"),
        pytest.param('(HERE / "a.csv").read_text()', id="behind a folder"),
        pytest.param('def f():\n    return open("./a.csv")', id="in a function"),
    ],
)
def test_files_that_are_opened(tmp_path: Path, code: str) -> None:
    script = tmp_path / "flow.py"
    script.write_text(code)
    (tmp_path / "a.csv").touch()
    flow = make_flow(images={"start": CPU}, script=script)
    [note] = unpackaged_notes(flow)
    assert note.startswith("a.csv: opened by the code")
    assert unpackaged_notes(replace(flow, package_suffixes=(".py", ".csv"))) == ()


@pytest.mark.parametrize(
    "code",
    [
        pytest.param('IncludeFile("table", default="a.csv")', id="IncludeFile, which is uploaded"),
        pytest.param('open("b.csv")', id="a file that is not there"),
        pytest.param('open("../outside.csv")', id="outside"),
        pytest.param('open("sub")', id="a folder"),
        pytest.param('open(name); open("")', id="no literal name"),
        pytest.param('print("a.csv")', id="only printed"),
        pytest.param('open("a.csv"', id="not Python"),
        pytest.param('open("a\\0.csv")', id="no name of a file"),
    ],
)
def test_files_that_are_not_opened(tmp_path: Path, code: str) -> None:
    folder = tmp_path / "flows"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "outside.csv").touch()
    (folder / "a.csv").touch()
    script = folder / "flow.py"
    script.write_text(code)
    assert unpackaged_notes(make_flow(images={"start": CPU}, script=script)) == ()


def test_helpers_count_and_virtual_environments_do_not(tmp_path: Path) -> None:
    for name in ("lib", "venv", ".hidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "module.py").write_text(f'open("{name}.json")')
        (tmp_path / f"{name}.json").touch()
    (tmp_path / "lib" / "near.py").write_text('open("near.sql")')
    (tmp_path / "lib" / "near.sql").touch()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    flow = make_flow(images={"start": CPU}, script=tmp_path / "flow.py")
    [note] = unpackaged_notes(flow)
    assert note.startswith("lib.json, lib/near.sql: ")
    assert "--package-suffixes=.json,.sql" in note


@pytest.mark.parametrize(
    ("code", "named"),
    [
        pytest.param('A = os.environ["X"]', True, id="in the module"),
        pytest.param('class F:\n    a = os.environ["X"]', True, id="in a class"),
        pytest.param('@d(os.environ["X"])\ndef f(): ...', True, id="in a decorator"),
        pytest.param('def f(a=os.environ["X"]): ...', True, id="in a default"),
        pytest.param('def f():\n    return os.environ["X"]', False, id="in a function"),
        pytest.param('f = lambda: os.environ["X"]', False, id="in a lambda"),
        pytest.param('A = os.environ.get("X", "y")', False, id="with a default"),
        pytest.param('os.environ["X"] = "y"', False, id="set"),
    ],
)
def test_variables_that_are_needed_at_import(tmp_path: Path, code: str, *, named: bool) -> None:
    script = tmp_path / "flow.py"
    script.write_text(f"import os\n{code}\n")
    flow = make_flow(images={"start": CPU}, script=script)
    assert bool(variable_notes(flow)) is named
    assert hints(flow) == variable_notes(flow)
