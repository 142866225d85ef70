import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from aicore_build.errors import FlowError, SettingsError
from aicore_build.flow import find_flow, metaflow_environment, read_flow, shorten_traceback
from aicore_build.metaflow_call import MetaflowCall
from tests.unit.make import CPU, GPU, make_flow, make_step, sweep_flow


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("from metaflow import FlowSpec\nclass F(FlowSpec): ...", id="FlowSpec"),
        pytest.param("import metaflow\nclass F(metaflow.FlowSpec): ...", id="metaflow.FlowSpec"),
        pytest.param("import metaflow as mf\nclass F(Mixin, mf.FlowSpec): ...", id="two bases"),
        pytest.param("raise SystemExit\nclass F(FlowSpec): ...", id="never run"),
        pytest.param("# -*- coding: latin-1 -*-\n# é\nclass F(FlowSpec): ...", id="not only ASCII"),
    ],
)
def test_the_one_flow_of_a_folder_is_found(tmp_path: Path, source: str) -> None:
    (tmp_path / "trainflow.py").write_text(
        source, encoding="latin-1" if "latin-1" in source else "utf-8"
    )
    write(
        tmp_path,
        helper="class Net: ...",
        broken="class F(FlowSpec:",
        speech='"""class F(FlowSpec): ..."""',
        near="class F(NoFlowSpec): ...",
    )
    (tmp_path / "null.py").write_bytes(b"class F(FlowSpec): ...\0")
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub", other="class F(FlowSpec): ...")
    assert find_flow(tmp_path) == tmp_path / "trainflow.py"


def test_a_folder_without_a_flow(tmp_path: Path) -> None:
    write(tmp_path, helper="class Net: ...", broken="class F(FlowSpec:")
    with pytest.raises(FlowError, match="defines a flow") as refused:
        find_flow(tmp_path)
    assert str(tmp_path) in str(refused.value)
    assert "--flow" in str(refused.value)


def test_a_folder_with_several_flows(tmp_path: Path) -> None:
    write(tmp_path, b="class F(FlowSpec): ...", a="class F(FlowSpec): ...", c="")
    with pytest.raises(FlowError, match=r"define a flow: a\.py, b\.py\.\nChoose one: --flow a\.py"):
        find_flow(tmp_path)


@pytest.mark.parametrize(
    ("environment", "user"),
    [
        pytest.param({"USER": "jane"}, "jane", id="user"),
        pytest.param({"METAFLOW_USER": "flows", "USER": "jane"}, "flows", id="metaflow's first"),
        pytest.param({"USER": "root"}, "aicore-build", id="root"),
        pytest.param({"SUDO_USER": "jane", "USER": "root"}, "jane", id="sudo"),
        pytest.param({"METAFLOW_USER": "root", "USER": "jane"}, "jane", id="metaflow's is root"),
        pytest.param({}, "aicore-build", id="none"),
        pytest.param({"METAFLOW_USER": "", "USER": "jane"}, "jane", id="empty"),
        pytest.param({"USER": "Jane.Doe@Example.com"}, "jane-doe-example-com", id="e-mail"),
        pytest.param({"USER": "DOMAIN\\jane_doe"}, "domain-jane-doe", id="Windows domain"),
        pytest.param({"USER": "--@--"}, "aicore-build", id="nothing valid"),
        pytest.param({"USER": f"{'a' * 62}@b"}, "a" * 62, id="no hyphen where it is cut"),
        pytest.param({"USER": "a" * 70}, "a" * 63, id="long"),
    ],
)
def test_the_user_is_a_valid_label_value(environment: Mapping[str, str], user: str) -> None:
    assert metaflow_environment({"HOME": "/home", **environment}) == {
        "HOME": "/home",
        **environment,
        "METAFLOW_USER": user,
    }


def test_what_metaflow_wrote_becomes_a_flow() -> None:
    flow = sweep_flow()
    assert (flow.name, flow.script) == ("SweepFlow", Path("/flows/sweepflow.py"))
    assert (flow.python, flow.python_version) == ("/venv/bin/python", "3.11.7")
    assert (flow.metaflow_version, flow.plugin_version) == ("2.12.25", "1.1.22")
    assert flow.datastore_root == "s3://aicore-build-sandbox/metaflow"
    assert flow.s3_endpoint == "http://127.0.0.1:9000"
    assert [(step.name, step.image) for step in flow.steps] == [
        ("start", CPU),
        ("train_model", GPU),
        ("join", CPU),
        ("end", CPU),
    ]
    assert flow.steps[0].decorators["environment"]["vars"]["THREADS"] == 2
    assert flow.steps[1].decorators["argo"]["labels"]["team"] == "Data_Science"


def test_a_flow_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FlowError, match=r"There is no file .*gone\.py"):
        read_flow(tmp_path / "gone.py", sys.executable)


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "flow.py").touch()
    with pytest.raises(SettingsError, match="no-python could not be started: No such file"):
        read_flow(tmp_path / "flow.py", str(tmp_path / "no-python"))


TRACEBACK = """\
a line that the flow printed
Traceback (most recent call last):
  File "/flows/trainflow.py", line 3, in <module>
    import helper
  File "/flows/venv/lib/python3.11/site-packages/lib.py", line 7, in wrapper
    return function()
           ^^^^^^^^^^
  File "/usr/lib/python3.11/importlib/__init__.py", line 126, in import_module
    return _bootstrap._gcd_import(name)
  File "/flows/helper.py", line 1, in <module>
    import torch
    ^^^^^^^^^^^^
ModuleNotFoundError: No module named 'torch'
"""


def test_a_traceback_keeps_the_frames_of_the_user() -> None:
    assert shorten_traceback(TRACEBACK, Path("/flows")).splitlines() == [
        '    File "/flows/trainflow.py", line 3, in <module>',
        "      import helper",
        '    File "/flows/helper.py", line 1, in <module>',
        "      import torch",
        "      ^^^^^^^^^^^^",
        "  ModuleNotFoundError: No module named 'torch'",
    ]


def test_the_exception_is_kept_wherever_it_comes_from() -> None:
    text = """\
Traceback (most recent call last):
  File "/flows/trainflow.py", line 3, in <module>
    lib.load()
  File "/usr/lib/lib.py", line 7, in load
    raise Error
lib.Error: first line
second line
"""
    assert shorten_traceback(text, Path("/flows")).splitlines()[1:] == [
        "      lib.load()",
        "  lib.Error: first line",
        "  second line",
    ]


def test_of_chained_tracebacks_the_last_counts() -> None:
    again = TRACEBACK.replace("torch", "jax")
    text = f"{TRACEBACK}\nDuring handling of the above exception, another occurred:\n\n{again}"
    assert "torch" not in shorten_traceback(text, Path("/flows"))
    assert shorten_traceback(text, Path("/flows")).endswith("No module named 'jax'")


def test_a_syntax_error_keeps_its_place() -> None:
    text = """\
Traceback (most recent call last):
  File "/flows/trainflow.py", line 1, in <module>
    import helper
  File "/flows/helper.py", line 2
    def f(:
          ^
SyntaxError: invalid syntax
"""
    assert shorten_traceback(text, Path("/flows")).splitlines()[2:] == [
        '    File "/flows/helper.py", line 2',
        "      def f(:",
        "            ^",
        "  SyntaxError: invalid syntax",
    ]


def test_what_is_no_traceback_is_kept() -> None:
    text = "".join(f"line {number}\n" for number in range(30))
    shortened = shorten_traceback(f"{text}\nValidity checker found an issue\n", Path("/flows"))
    assert shortened.splitlines()[0] == "  line 12"
    assert shortened.splitlines()[-3:] == ["  line 29", "", "  Validity checker found an issue"]


def test_call_of_a_flow_is_what_its_decorators_and_imports_need() -> None:
    plain = sweep_flow()
    assert plain.call == MetaflowCall(python="/venv/bin/python", script=plain.script)
    packaged = make_flow(make_step("start", pypi={"packages": {}}))
    assert packaged.call.baked
    special = replace(
        plain, options=("--with", "retry"), stubs=("torch",), decorators={"trigger": {}}
    )
    assert special.call == MetaflowCall(
        python="/venv/bin/python",
        script=plain.script,
        options=("--with", "retry"),
        triggered=True,
        stubs=True,
    )


def test_what_is_recorded_of_steps() -> None:
    start, train, *_ = sweep_flow().steps
    assert (start.kind, start.next, start.parallel) == ("foreach", ("train_model",), False)
    assert (train.added, train.foreign) == ((), ())
    assert [(p.name, p.kind, p.required, p.has_default) for p in sweep_flow().parameters] == [
        ("rounds", "Parameter", False, True),
        ("target", "Parameter", False, False),
    ]
