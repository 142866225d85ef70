"""Flows as people write them, read by both Metaflow versions that the tool is for."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from aicore_build.errors import FlowError
from aicore_build.features import judge
from aicore_build.flow import Flow, metaflow_environment, read_flow
from aicore_build.generators import sap
from aicore_build.hints import unpackaged_notes, variable_notes
from aicore_build.metaflow_call import run_metaflow
from aicore_build.package import check_package
from aicore_build.plan import plan_images
from aicore_build.settings import Settings
from tests.integration.conftest import Project
from tests.integration.feature_flows import (
    EXAMPLES,
    IMAGE,
    Example,
    of_a_flow,
    of_a_step,
    of_steps,
    write_extension,
)
from tests.sandbox import Sandbox
from tests.sandbox.state import Store
from tests.sandbox.upstream import upstream_python

DEFAULT = Settings(default_image="registry.example.com/acme/default:v1")


@pytest.fixture(params=["2.12", "2.19"])
def python(request: pytest.FixtureRequest) -> str:
    """The Python of each of the two Metaflow versions."""
    if request.param == "2.12":
        return sys.executable
    return str(upstream_python(Store.of(os.environ)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a flow, whose user has no configuration of Metaflow."""
    monkeypatch.setenv("METAFLOW_HOME", str(tmp_path / "metaflowconfig"))
    (tmp_path / "flows").mkdir()
    return tmp_path / "flows"


def write(folder: Path, example: Example, **files: str) -> Path:
    for name, text in (example.files | files).items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / example.script).write_text(example.source)
    return folder / example.script


def images(flow: Flow) -> dict[str, str | None]:
    return {step.name: step.image for step in flow.steps}


def libraries(flow: Flow, settings: Settings = DEFAULT) -> dict[str, tuple[str, ...]]:
    """What @pypi and @conda add to each image."""
    plans = plan_images(with_plugin(flow), settings)
    return {str(p.reference): p.environment.requirements[4:] for p in plans if p.environment}


def with_plugin(flow: Flow) -> Flow:
    """As if the plugin were installed: what is planned is the same in both versions."""
    return replace(flow, plugin_version="1.1.22")


IMAGES = {
    "an f-string": ('TAG = "v" + str(2)', 'f"r.example.com/a/b:{TAG}"'),
    "a variable": ("import os", 'os.environ["IMAGE"]'),
    "a helper module": ("import helper", "helper.IMAGE"),
    "a package below": ("from lib.names import image", 'image("b")'),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_image_that_the_code_makes(
    folder: Path, python: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("IMAGE", "r.example.com/a/b:v2")
    above, expression = IMAGES[kind]
    decorator = f"@kubernetes(image={expression})"
    script = write(folder, of_a_flow(f"{above}\n\n\n", decorators=decorator, image=decorator))
    (folder / "helper.py").write_text('IMAGE = "r.example.com/a/b:v2"\n')
    (folder / "lib").mkdir()
    (folder / "lib" / "names.py").write_text(
        'def image(name):\n    return "r.example.com/a/" + name + ":v2"\n'
    )
    assert images(read_flow(script, python)) == dict.fromkeys(
        ["start", "end"], "r.example.com/a/b:v2"
    )


CONFIGURED = {
    "its image and registry": (
        {
            "METAFLOW_KUBERNETES_CONTAINER_IMAGE": "a/b:v1",
            "METAFLOW_KUBERNETES_CONTAINER_REGISTRY": "r.example.com/",
        },
        "r.example.com/a/b:v1",
        "r.example.com/own/c:v1",
    ),
    "the default image": (
        {"METAFLOW_DEFAULT_CONTAINER_IMAGE": "x.example.com/a/b:v1"},
        "x.example.com/a/b:v1",
        "own/c:v1",
    ),
    "the default registry": (
        {"METAFLOW_DEFAULT_CONTAINER_REGISTRY": "r.example.com"},
        None,
        "r.example.com/own/c:v1",
    ),
}


@pytest.mark.parametrize("where", ["environment", "configuration"])
@pytest.mark.parametrize("kind", CONFIGURED)
def test_image_that_metaflow_is_configured_with(
    folder: Path,
    python: str,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    where: str,
) -> None:
    variables, expected, own = CONFIGURED[kind]
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    if where == "configuration":
        home = Path(os.environ["METAFLOW_HOME"])
        home.mkdir()
        (home / "config.json").write_text(json.dumps(variables))
    else:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
    script = write(
        folder,
        of_steps(
            "@retry|start(self): self.next(self.named)",
            '@kubernetes(image="own/c:v1")|named(self): self.next(self.end)',
            "@kubernetes(cpu=1)|end(self): pass",
        ),
    )
    flow = read_flow(script, python)
    assert images(flow) == {"start": expected, "named": own, "end": expected}
    if flow.plugin_version and expected:
        made = sap.generate(flow, embedded=False, timeout=60).workflow_template
        found = {t["name"]: t["container"]["image"] for t in made["spec"]["templates"][1:]}
        assert found == images(flow)


def test_options_reach_reader_and_generator_alike(
    folder: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    script = write(folder, of_a_flow('@project(name="prices")'))
    options = ("--with", "retry:times=3", "--branch", "try", '--with=environment:vars={"A":"b,c"}')
    flow = read_flow(script, sys.executable, options)
    assert all({"retry", "environment"} <= set(step.added) for step in flow.steps)
    made = sap.generate(flow, embedded=False, timeout=60).workflow_template
    templates = [t for t in made["spec"]["templates"] if "container" in t]
    assert [t["retryStrategy"]["limit"] for t in templates] == ["3", "3"]
    assert all({"name": "A", "value": "b,c"} in t["container"]["env"] for t in templates)
    assert "test.try" in made["metadata"]["labels"].values(), made["metadata"]["labels"]


def test_options_behind_two_hyphens(project: Project) -> None:
    project.write_flow("registry.example.com/acme/flow:v1")
    project.write_settings(
        'metaflow-options = ["--with", "pypi:packages={\\"six\\":\\"1.16.0\\"}"]', quick=False
    )
    both = json.loads(
        project.succeed("plan", "--json", "--", "--with", 'conda:packages={"toolz":"1"}')
    )
    assert both["images"][0]["requirements"][4:] == ["six==1.16.0", "toolz==1"]
    refused = project.run("plan", "--", "--datastore", "local")
    assert refused.returncode == 4
    assert "--datastore is given by aicore-build itself" in refused.stderr


def test_packages_become_libraries_of_the_image(folder: Path, python: str) -> None:
    gpu = '@kubernetes(image="registry.example.com/acme/gpu:v1")'
    script = write(
        folder,
        of_a_flow(
            '@conda_base(libraries={"six": "1.16.0"})',
            decorators=f'{IMAGE}\n@pypi(packages={{"pandas": ">=2", "numpy": ""}})',
            image=f'{gpu}\n@pypi(packages={{"torch": "2.4"}})\n@conda(disabled=True)',
        ),
    )
    flow = read_flow(script, python)
    assert libraries(flow) == {
        "registry.example.com/acme/flow:v1": ("numpy", "pandas>=2", "six==1.16.0"),
        "registry.example.com/acme/gpu:v1": ("torch==2.4",),
    }
    assert flow.call.baked


def test_steps_that_share_an_image_share_its_packages(folder: Path, python: str) -> None:
    one = f'{IMAGE}\n@pypi(packages={{"pandas": "2.1"}})'
    script = write(
        folder, of_a_flow("", decorators=one, image=f'{one}\n@conda(packages={{"six": "1"}})')
    )
    assert libraries(read_flow(script, python)) == {
        "registry.example.com/acme/flow:v1": ("pandas==2.1", "six==1")
    }


def test_steps_that_disagree_on_a_package_of_their_image(folder: Path, python: str) -> None:
    one, two = (f'{IMAGE}\n@pypi(packages={{"pandas": "{v}"}})' for v in ("2.1", "2.2"))
    flow = read_flow(write(folder, of_a_flow("", decorators=one, image=two)), python)
    with pytest.raises(FlowError, match=r"start and end share .*pandas==2\.1 and pandas==2\.2"):
        libraries(flow)


HEAVY = """\
import importlib.util
from abc import ABC, abstractmethod
from contextlib import suppress

import torch.nn as nn
import pandas as pd
from transformers import AutoModel, Trainer

try:
    import cupy
except ImportError:
    cupy = None
assert cupy is None
with suppress(ImportError):
    import jax
assert importlib.util.find_spec("jax") is None


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.width = width


@nn.jit.script
def clean(table: pd.DataFrame | None = None, model: "AutoModel" = None) -> pd.Series:
    return table


class Table(pd.Model, ABC, table=True):
    @abstractmethod
    def rows(self): ...


@nn.remote
class Actor:
    pass


NET = Net()
assert NET.width == 8
assert isinstance(Actor(), Actor)
"""


def test_libraries_that_are_not_installed_have_stand_ins(
    folder: Path, python: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    script = write(folder, of_a_flow(f"import helper\n{HEAVY}\n\n"))
    (folder / "helper.py").write_text(
        "import xgboost.sklearn\nMODEL = xgboost.sklearn.XGBRegressor\n"
    )
    flow = read_flow(script, python)
    assert flow.stubs == ("xgboost", "torch", "pandas", "transformers")
    [note] = judge(flow, DEFAULT)
    assert "xgboost, torch, pandas, transformers" in note
    assert images(flow)["start"] == "registry.example.com/acme/flow:v1"
    if flow.plugin_version:
        assert (
            sap.generate(flow, embedded=True, timeout=60).workflow_template["metadata"]["name"]
            == "theflow"
        )


DEPENDS = {
    "an f-string": ("import torch", 'f"r.example.com/a:{torch.__version__}"'),
    "a value": ("import torch", "torch.image"),
    "a condition": (
        "import torch",
        '"r.example.com/gpu" if torch.cuda.is_available() else "r.example.com/cpu"',
    ),
    "a comparison": (
        "import torch",
        '"r.example.com/2" if torch.cuda.device_count() > 1 else "r.example.com/1"',
    ),
}


@pytest.mark.parametrize("kind", DEPENDS)
def test_image_that_depends_on_a_stand_in_is_refused(folder: Path, python: str, kind: str) -> None:
    above, expression = DEPENDS[kind]
    script = write(
        folder, of_a_flow(f"{above}\n\n\n", decorators=f"@kubernetes(image={expression})")
    )
    with pytest.raises(FlowError, match=r"not installed here: torch\.|No module named 'torch'"):
        read_flow(script, python)


def test_condition_that_changes_nothing_is_no_reason_to_refuse(folder: Path, python: str) -> None:
    above = 'import torch\n\nDEVICE = "cuda" if torch.cuda.is_available() else "cpu"\n\n\n'
    assert read_flow(write(folder, of_a_flow(above)), python).stubs == ("torch",)


def test_module_that_is_missing_inside_a_library_is_no_stand_in(folder: Path, python: str) -> None:
    library = folder / "venv" / "site-packages" / "library.py"
    library.parent.mkdir(parents=True)
    library.write_text("import not_there\n")
    above = f"import sys\nsys.path.append({str(library.parent)!r})\nimport library\n\n\n"
    with pytest.raises(FlowError, match="No module named 'not_there'"):
        read_flow(write(folder, of_a_flow(above)), python)


def test_one_call_reads_a_flow_where_all_is_installed(folder: Path, python: str) -> None:
    above = "with open('calls', 'a') as file:\n    file.write('x')\n\n\n"
    read_flow(write(folder, of_a_flow(above)), python)
    assert (folder / "calls").read_text() == "x"


def test_prints_at_import_time(folder: Path, python: str) -> None:
    script = write(folder, of_a_flow('print(\'{"apiVersion": "v1"}\')\nprint("{")\n\n\n'))
    assert list(images(read_flow(script, python))) == ["start", "end"]


def test_of_two_flows_in_a_file_the_one_that_is_started_is_read(folder: Path, python: str) -> None:
    script = write(folder, of_a_flow(""))
    other = of_a_flow("").body.replace("TheFlow", "OtherFlow").replace("/flow:", "/other:")
    script.write_text(script.read_text().replace("class TheFlow", f"{other}\n\n\nclass TheFlow", 1))
    flow = read_flow(script, python)
    assert (flow.name, images(flow)["start"]) == ("TheFlow", "registry.example.com/acme/flow:v1")


@pytest.mark.parametrize(
    "name", [".hidden/flows", "with space", "fl\u00f6ws \u4e2d", 'it\'s "odd" $HOME']
)
def test_flow_in_an_odd_folder_is_packed(
    tmp_path: Path, python: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for key, value in sandbox.environment.items():
        monkeypatch.setenv(key, value)
    folder = tmp_path / name
    folder.mkdir(parents=True)
    script = write(
        folder,
        of_a_flow("import os\nimport helper\n\nassert os.path.exists(helper.__file__)\n\n\n"),
    )
    (folder / "helper.py").touch()
    flow = read_flow(script, python)
    job_tar = tmp_path / "job.tar"
    arguments = ["--datastore=s3", "package", "save", str(job_tar)]
    run_metaflow(flow.call, arguments, environment=metaflow_environment(os.environ), timeout=60)
    check_package(job_tar, "flow.py")
    check_package(job_tar, "helper.py")


def test_error_in_a_hidden_folder_names_the_users_file(tmp_path: Path, python: str) -> None:
    folder = tmp_path / ".hidden" / "flows"
    folder.mkdir(parents=True)
    script = write(folder, of_a_flow("1 / 0\n\n\n"))
    with pytest.raises(FlowError, match="ZeroDivisionError") as refused:
        read_flow(script, python)
    assert f'File "{script}", line' in str(refused.value)


OPENS = """\
import json
from pathlib import Path

HERE = Path(__file__).parent
LIMITS = json.loads((HERE / "conf" / "limits.json").read_text())
table = open("table.csv").read()

"""


def test_data_files_that_are_opened_but_not_packed(folder: Path, python: str) -> None:
    script = write(folder, of_a_flow(OPENS), **{"conf/limits__json": "{}", "table__csv": "a"})
    (folder / "unused.csv").touch()
    [note] = unpackaged_notes(read_flow(script, python))
    assert note.startswith("conf/limits.json, table.csv: opened by the code")
    assert "--package-suffixes=.json,.csv" in note
    options = ("--package-suffixes=.json,.csv",)
    assert unpackaged_notes(read_flow(script, python, options)) == ()


def test_variables_that_the_steps_have_not(
    folder: Path, python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AT_IMPORT", "IN_A_DECORATOR", "GIVEN", "LATER"):
        monkeypatch.setenv(name, "x")
    given = '@environment(vars={"GIVEN": "x"})'
    named = '@kubernetes(image="a/" + os.environ["IN_A_DECORATOR"])'
    above = (
        'import os\n\nA = os.environ["AT_IMPORT"], os.environ["GIVEN"]\n\n\n'
        'def later():\n    return os.environ["LATER"]\n\n\n'
    )
    script = write(
        folder, of_a_flow(above, decorators=f"{named}\n{given}", image=f"{IMAGE}\n{given}")
    )
    [note] = variable_notes(read_flow(script, python))
    assert note.startswith("flow.py reads AT_IMPORT, IN_A_DECORATOR from the environment")


def test_values_of_a_config_are_resolved(folder: Path) -> None:
    example = EXAMPLES["`Config`, `config_expr`"]
    script = write(folder, example)
    upstream = str(upstream_python(Store.of(os.environ)))
    default, given = (
        "registry.example.com/acme/default:v1",
        "registry.example.com/acme/configured:v1",
    )
    assert images(read_flow(script, upstream))["start"] == default
    assert images(read_flow(script, upstream, example.options))["start"] == given


def test_mutators_are_applied(folder: Path) -> None:
    script = write(folder, EXAMPLES["`FlowMutator`, `StepMutator`"])
    flow = read_flow(script, str(upstream_python(Store.of(os.environ))))
    assert set(images(flow).values()) == {"registry.example.com/acme/mutated:v1"}
    assert flow.steps[0].decorators["retry"]["times"] == 2


def test_decorators_of_other_platforms_are_refused_by_name(
    folder: Path, python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decorators = f"{IMAGE}\n@nvidia"
    script = write(folder, of_a_step(decorators))
    with pytest.raises(
        FlowError, match="SAP AI Core runs every step itself: @nvidia is for NVIDIA"
    ):
        read_flow(script, python)
    write_extension(folder / "extension", "nvidia")
    monkeypatch.setenv("PYTHONPATH", str(folder / "extension"))
    with pytest.raises(FlowError, match="@nvidia at step start sends it to NVIDIA's cloud"):
        judge(read_flow(script, python), DEFAULT)


NEEDS_OUTSIDE: Mapping[str, str] = {}
"""Metaflow's own flows that need what is not in the distribution, and why: none of them."""


def test_tutorials_of_metaflow_are_planned(python: str) -> None:
    where = subprocess.run(
        [python, "-c", "import metaflow; print(metaflow.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    scripts = sorted((Path(where).parent / "tutorials").glob("*/*.py"))
    found = {script.parent.name for script in scripts} - NEEDS_OUTSIDE.keys()
    assert found >= {"00-helloworld", "01-playlist", "02-statistics", "05-hello-cloud"}
    for script in scripts:
        flow = read_flow(script, python)
        assert plan_images(with_plugin(flow), DEFAULT), script


def test_retries_and_deadlines_are_in_the_template(
    folder: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    script = write(folder, of_a_step(f"{IMAGE}\n@retry(times=2)\n@catch\n@timeout(minutes=5)"))
    made = sap.generate(
        read_flow(script, sys.executable), embedded=True, timeout=60
    ).workflow_template
    start = next(t for t in made["spec"]["templates"] if t["name"] == "start")
    assert start["retryStrategy"]["limit"] == "3"
    assert start["activeDeadlineSeconds"] == 300


def test_versions_are_those_that_the_tests_are_for(python: str) -> None:
    flow_python = subprocess.run(
        [python, "-c", "from importlib import metadata; print(metadata.version('metaflow'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert flow_python.startswith("2.12") or flow_python >= "2.19"
    assert metadata.version("metaflow").startswith("2.12")


def test_code_package_of_packaged_steps_runs_without_us(
    folder: Path, tmp_path: Path, python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps' commands name an environment; on the cluster only the code package knows it."""
    one = '@pypi(packages={"humanize": "4.9.0"})'
    script = write(
        folder,
        of_a_flow('@conda_base(packages={"six": "1"})', decorators=f"{IMAGE}\n{one}", image=IMAGE),
    )
    flow = read_flow(script, python)
    job_tar, extracted = tmp_path / "job.tar", tmp_path / "extracted"
    arguments = ["--datastore=s3", "--datastore-root=s3://a/b", "package", "save", str(job_tar)]
    run_metaflow(flow.call, arguments, environment=metaflow_environment(os.environ), timeout=60)
    with tarfile.open(job_tar) as tar:
        tar.extractall(extracted, filter="data")

    # Without its images it can only run here: Kubernetes is asked for in the flow alone.
    (extracted / "flow.py").write_text(script.read_text().replace(IMAGE, ""))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    of_219 = {"PYTHONPATH": f"{extracted}/.mf_code", "METAFLOW_EXTRACTED_ROOT": str(extracted)}
    command = [python, "flow.py", "--environment=fast-bakery", "--datastore=local"]
    done = subprocess.run(
        [*command, "--metadata=local", "--no-pylint", "run"],
        cwd=extracted,
        env={**metaflow_environment(os.environ), **of_219, "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Done!" in done.stdout
