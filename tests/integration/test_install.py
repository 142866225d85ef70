"""The tool as it is installed: from its wheel, and apart from the flow's own Python."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Project

ROOT = Path(__file__).parents[2]


def _uv(*arguments: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uv", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def flows_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the plugin and nothing of ours."""
    folder = tmp_path_factory.mktemp("flows-python")
    _uv("venv", folder)
    python = folder / "bin" / "python"
    _uv("pip", "install", "--python", python, "sap-ai-core-metaflow", "boto3>=1.34", "requests")
    return python


@pytest.fixture(scope="module")
def tools_command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tool's command, installed from its wheel, as pipx and `uv tool` do it: no plugin."""
    folder = tmp_path_factory.mktemp("tools-python")
    _uv("build", "--wheel", "--out-dir", folder / "dist", ROOT)
    [wheel] = (folder / "dist").glob("*.whl")
    _uv("venv", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    _uv("pip", "install", "--python", python, wheel)
    return python.with_name("aicore-build")


def test_tool_from_its_wheel_apart_from_the_flows_python(
    project: Project, flows_python: Path, tools_command: Path
) -> None:
    project.write_flow(project.image("a:v1"))
    project.write_settings(f'python = "{flows_python}"')
    beside = json.loads(project.succeed("prod", "--json"))

    apart = subprocess.run(
        [tools_command, "prod", "--json"],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert apart.returncode == 0, apart.stderr
    found = json.loads(apart.stdout)
    [first], [second] = beside.pop("images"), found.pop("images")
    assert (first["built"], second["built"]) == (True, False)
    assert second["pinned"] == first["pinned"]
    assert found == beside


def test_wheel_carries_the_dockerfile_templates(
    project: Project, tools_command: Path, flows_python: Path
) -> None:
    project.write_flow(project.image("a:v1"))
    project.write_settings(f'python = "{flows_python}"', quick=False)
    subprocess.run(
        [tools_command, "render"], cwd=project.folder, env=project.environment, check=True
    )
    assert list((project.folder / ".aicore-build" / "dev").glob("*/Dockerfile"))


def test_without_the_plugin_metaflow_itself_generates(
    project: Project, tools_command: Path
) -> None:
    project.write_flow(project.image("a:v1"))
    project.write_settings(quick=False)

    def plan(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [tools_command, "plan", "--json", *arguments],
            cwd=project.folder,
            env=project.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    done = plan()
    assert done.returncode == 0, done.stderr
    [image] = json.loads(done.stdout)["images"]
    assert image["requirements"][0].startswith("metaflow==2.")
    done = plan("--generator", "sap")
    assert done.returncode == 8
    assert "pip install sap-ai-core-metaflow" in done.stderr
