"""Upstream Metaflow's generator, as we call it; and what both generators have in common."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from aicore_build.flow import Flow, read_flow
from aicore_build.generators import Generated, metaflow
from aicore_build.generators.call import call_generator
from aicore_build.generators.choice import generate
from aicore_build.generators.neutral import TOKEN, make_neutral
from aicore_build.generators.sap import parse_generated
from aicore_build.lint import lint
from aicore_build.settings import GeneratorName, Settings
from aicore_build.workflow import complete, plan_completion, render_json
from tests.integration.conftest import Project
from tests.integration.feature_flows import EXAMPLES, IMAGE, Example, of_a_flow, of_steps
from tests.sandbox import Sandbox
from tests.sandbox.state import Store
from tests.sandbox.upstream import upstream_python

DIGEST = f"sha256:{'0123456789abcdef' * 4}"
TIMEOUT = 60

NESTED = of_steps(
    "start(self): self.rows = [1, 2]; self.next(self.row, foreach='rows')",
    f"@retry(times=2)\n{IMAGE}|row(self): self.cells = [3]; self.next(self.cell, foreach='cells')",
    f"@environment(vars={{'MODE': 'fast'}})\n{IMAGE}|cell(self): self.next(self.left, self.right)",
    "left(self): self.next(self.join)",
    f"@catch(var='failure')\n{IMAGE}|right(self): self.next(self.join)",
    "join(self, inputs): self.next(self.join_cells)",
    "join_cells(self, inputs): self.next(self.join_rows)",
    "join_rows(self, inputs): self.next(self.end)",
    "end(self): pass",
)

SHADOW = '''\
"""The environment `local`, but that no code is fetched."""

import os

from metaflow.metaflow_environment import MetaflowEnvironment


class LocalEnvironment(MetaflowEnvironment):
    TYPE = "local"

    def get_package_commands(self, *arguments):
        commands = super().get_package_commands(*arguments)
        if os.environ.get("WITHOUT_DOWNLOAD") != "1":
            return commands
        kept = ("mflog()", "flush_mflogs", "export ", "mflog 'Task is starting")
        return [command for command in commands if command.startswith(kept)]
'''


@pytest.fixture(scope="module")
def pythons() -> Mapping[str, str]:
    """The Python of each generator's Metaflow."""
    return {"sap": sys.executable, "metaflow": str(upstream_python(Store.of(os.environ)))}


@pytest.fixture(params=["sap", "metaflow"])
def generator(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a flow; the sandbox is in the environment."""
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("METAFLOW_HOME", str(tmp_path / "metaflowconfig"))
    (tmp_path / "flows").mkdir()
    return tmp_path / "flows"


def write(folder: Path, example: Example) -> Path:
    for name, text in example.files.items():
        (folder / name).write_text(text)
    script = folder / example.script
    script.write_text(example.source)
    return script


def by_metaflow(flow: Flow, *, embedded: bool = True) -> Generated:
    return metaflow.generate(flow, embedded=embedded, timeout=TIMEOUT)


@pytest.mark.parametrize("embedded", [False, True], ids=["plain", "embedded"])
def test_equal_inputs_give_equal_bytes(
    folder: Path, pythons: Mapping[str, str], *, embedded: bool
) -> None:
    flow = read_flow(write(folder, NESTED), pythons["metaflow"])
    first, second = by_metaflow(flow, embedded=embedded), by_metaflow(flow, embedded=embedded)
    assert first == second
    assert render_json(first.workflow_template) == render_json(second.workflow_template)
    assert (first.generator, first.generator_version) == ("metaflow", flow.metaflow_version)


def test_nothing_of_who_generates_and_where_is_in_the_workflow_template(
    folder: Path, pythons: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = read_flow(write(folder, NESTED), pythons["metaflow"])
    first = by_metaflow(flow, embedded=False)
    port = os.environ["METAFLOW_S3_ENDPOINT_URL"].rpartition(":")[2]
    own = {
        "METAFLOW_S3_ENDPOINT_URL": f"http://localhost:{port}",
        "METAFLOW_SERVICE_HEADERS": '{"x-api-key": "key-of-the-service"}',
        "METAFLOW_USER": "jane.doe@example.com",
        "METAFLOW_OWNER": "jane.doe@example.com",
        "METAFLOW_KUBERNETES_NAMESPACE": "of-jane",
        "METAFLOW_KUBERNETES_SERVICE_ACCOUNT": "janes-robot",
        "METAFLOW_KUBERNETES_NODE_SELECTOR": "pool=janes",
        "METAFLOW_KUBERNETES_TOLERATIONS": '[{"key": "janes", "operator": "Exists"}]',
        "USER": "jane",
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)

    second = by_metaflow(read_flow(flow.script, flow.python), embedded=False)

    text = render_json(second.workflow_template)
    for leak in ("jane", "localhost", "127.0.0.1", "x-api-key", "key-of-the-service"):
        assert leak not in text, leak
    # Metaflow keeps the user's name in the package, which is named by its hash.
    before, after = (f"{sha1[:2]}/{sha1}" for sha1 in (first.package.sha1, second.package.sha1))
    text = text.replace(after, before).replace(second.package.sha1, first.package.sha1)
    assert text == render_json(first.workflow_template)


def test_the_cut_agrees_with_an_environment_that_fetches_nothing(
    folder: Path, pythons: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other way to have no download: Metaflow's own code makes the commands without it."""
    plugins = folder.parent / "shadow" / "metaflow_extensions" / "shadow" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "mfextinit_shadow.py").write_text(
        'ENVIRONMENTS_DESC = [("local", ".shadow.LocalEnvironment")]\n'
    )
    (plugins / "shadow.py").write_text(SHADOW)
    monkeypatch.setenv("PYTHONPATH", str(folder.parent / "shadow"))
    flow = read_flow(write(folder, NESTED), pythons["metaflow"])
    ours = by_metaflow(flow)

    arguments = ["argo-workflows", "create", "--only-json", "--no-enable-error-msg-capture"]
    arguments += ["--no-auto-emit-argo-events", "--new-token", TOKEN]
    skipped = "METAFLOW_S3_ENDPOINT_URL,METAFLOW_SERVICE_HEADERS"
    variables = {
        "WITHOUT_DOWNLOAD": "1",
        "METAFLOW_KUBERNETES_NAMESPACE": "",
        "METAFLOW_ARGO_WORKFLOWS_ENV_VARS_TO_SKIP": skipped,
    }
    written = parse_generated(
        call_generator(flow, arguments, timeout=TIMEOUT, packages=None, variables=variables)
    )
    assert "download_file" not in str(written)
    assert make_neutral(written, flow.name, keep_resources=False) == ours.workflow_template


def test_resources_stay_only_where_they_are_wanted(
    folder: Path, pythons: Mapping[str, str]
) -> None:
    flow = read_flow(write(folder, of_a_flow("")), pythons["metaflow"])
    for keep in (False, True):
        settings = Settings(generator=GeneratorName.METAFLOW, keep_resources=keep)
        document = generate(flow, settings, embedded=True).workflow_template
        assert ("'requests'" in str(document)) is keep


def test_of_a_project_each_branch_has_a_name_of_its_own(
    folder: Path, pythons: Mapping[str, str]
) -> None:
    script = write(folder, EXAMPLES["`@project`"])
    flows = [read_flow(script, pythons["metaflow"], ("--branch", b)) for b in ("one", "two")]
    first, again, other = (by_metaflow(f).workflow_template for f in (flows[0], *flows))
    assert render_json(first) == render_json(again)
    names = [document["metadata"]["name"] for document in (first, other)]
    assert names == ["prices-test-one-theflow", "prices-test-two-theflow"]


@pytest.mark.parametrize("embedded", [False, True], ids=["plain", "embedded"])
def test_of_both_generators_lint_has_nothing_to_say(
    folder: Path, pythons: Mapping[str, str], generator: str, *, embedded: bool
) -> None:
    flow = read_flow(write(folder, NESTED), pythons[generator])
    settings = Settings(
        generator=GeneratorName(generator),
        scenario_id="tests",
        scenario_name="Tests: all of them",
        version="1.0.0",
        resource_plan="starter",
    )
    generated = generate(flow, settings, embedded=embedded)
    images = {step.name: f"{step.image}@{DIGEST}" for step in flow.steps}
    document = complete(generated.workflow_template, plan_completion(flow, settings), images)
    assert list(lint(document)) == []


OFFLINE = {
    "plain": NESTED,
    "a library that is not installed": of_a_flow("import not_installed_here"),
    "packages of its own": EXAMPLES["`@pypi`, `@pypi_base`"],
    "a project": EXAMPLES["`@project`"],
    "a configuration": EXAMPLES["`Config`, `config_expr`"],
}


@pytest.mark.parametrize(
    ("generator", "kind"),
    [("metaflow", kind) for kind in OFFLINE]
    + [("sap", kind) for kind in OFFLINE if kind != "a configuration"],  # which 2.12 hasn't
)
def test_offline_the_generators_make_the_same(
    folder: Path,
    pythons: Mapping[str, str],
    generator: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    example = OFFLINE[kind]
    flow = read_flow(write(folder, example), pythons[generator], example.options)
    settings = Settings(generator=GeneratorName(generator))
    online = generate(flow, settings, embedded=True)
    made = folder.parent / "made"
    made.mkdir()
    for name, value in NO_STORE.items():
        monkeypatch.setenv(name, value)

    offline = generate(flow, settings, embedded=True, packages=made)

    assert offline.package == online.package
    assert offline.workflow_template == online.workflow_template
    assert [path.name for path in made.iterdir()] == [online.package.sha1]


NO_STORE = {
    "METAFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "",
    "AWS_SECRET_ACCESS_KEY": "",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""S3 is out of reach, and there are no credentials."""


@pytest.fixture
def built(project: Project, pythons: Mapping[str, str], generator: str) -> Project:
    """A project whose dev image is in the registry."""
    project.environment |= {
        "AICORE_BUILD_GENERATOR": generator,
        "AICORE_BUILD_PYTHON": pythons[generator],
        "AICORE_BUILD_BUILDER": "registry",
    }
    project.write_flow(project.image("a:v1"))
    project.write_settings()
    project.succeed("dev", "--no-template")
    return project


def test_offline_prod_writes_the_same(built: Project, tmp_path: Path) -> None:
    def prod(*arguments: str) -> dict[str, bytes]:
        built.succeed("prod", *arguments)
        packages = (Path(built.environment["XDG_CACHE_HOME"])).rglob("job.tar")
        names = ("flow.json", "flow.lock.json")
        found = {path.parent.name: path.read_bytes() for path in packages}
        return found | {name: (built.folder / name).read_bytes() for name in names}

    online = prod()
    for name in ("flow.json", "flow.lock.json"):
        (built.folder / name).unlink()
    built.environment |= {**NO_STORE, "XDG_CACHE_HOME": str(tmp_path / "another")}
    refused = built.run("prod")
    assert refused.returncode == 9, refused.stderr

    offline = prod("--offline")

    assert len(offline) == 3
    assert offline == online


def test_offline_refuses_a_flow_with_included_files(built: Project) -> None:
    script = built.folder / "flow.py"
    text = script.read_text().replace("import FlowSpec", "import IncludeFile, FlowSpec")
    included = 'class PlainFlow(FlowSpec):\n    table = IncludeFile("table", default="table.csv")\n'
    script.write_text(text.replace("class PlainFlow(FlowSpec):\n", included))
    (built.folder / "table.csv").write_text("a,b\n")

    done = built.run("prod", "--offline")

    assert done.returncode == 4
    assert "--offline can't be had with IncludeFile (table)" in done.stderr
    assert not (built.folder / "flow.json").exists()
