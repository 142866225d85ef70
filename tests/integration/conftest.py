"""A flow in a folder of its own, and the tool run on it as a user would: in a process."""

import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest

from tests.sandbox import Sandbox

SETTINGS = """\
scenario-id = "tests"
scenario-name = "Tests: all of them"
version = "1.0.0"
"""

QUICK_DOCKERFILE = """\
FROM python:3.11-slim
RUN mkdir -p -m 777 /home/user
WORKDIR /home/user
"""
"""A dev image without pip, where what pip installs is not what is tested."""


@dataclass(kw_only=True)
class Project:
    """A folder with a flow, and the environment of the user who works in it."""

    folder: Path
    registry: str
    """Host and a prefix that is this test's own."""

    environment: dict[str, str] = field(default_factory=dict)

    def image(self, name: str) -> str:
        """An image reference that no other test uses."""
        return f"{self.registry}/{name}"

    def write_flow(self, start: str, end: str | None = None, *, extra: str = "") -> Path:
        """Write a flow of two steps with these images."""
        script = self.folder / "flow.py"
        script.write_text(
            f"""\
from metaflow import FlowSpec, kubernetes, step
{extra}

class PlainFlow(FlowSpec):
    @kubernetes(image="{start}")
    @step
    def start(self):
        self.next(self.end)

    @kubernetes(image="{end or start}")
    @step
    def end(self):
        print("the end")


if __name__ == "__main__":
    PlainFlow()
"""
        )
        return script

    def write_settings(self, text: str = "", *, quick: bool = True) -> None:
        """Write the settings: the mandatory ones, and for all images a Dockerfile without pip."""
        (self.folder / "Quick.Dockerfile").write_text(QUICK_DOCKERFILE)
        images = '[images."*"]\ndockerfile = "Quick.Dockerfile"\n' if quick else ""
        (self.folder / "aicore-build.toml").write_text(SETTINGS + text + "\n" + images)

    def run(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run the tool."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def command(self, *arguments: str) -> list[str]:
        """The command line of the tool."""
        return [sys.executable, "-m", "aicore_build", *arguments]

    def succeed(self, *arguments: str) -> str:
        """Run the tool; return its stdout."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


def make_project(sandbox: Sandbox, parent: Path) -> Project:
    """Make an empty project in a folder, with a Docker configuration and a cache of its own."""
    folder = parent / "project"
    folder.mkdir()
    (parent / "docker").mkdir()
    own = {name: value for name, value in os.environ.items() if "AICORE_BUILD" not in name}
    environment = {
        **own,
        **sandbox.environment,
        "DOCKER_CONFIG": str(parent / "docker"),
        "XDG_CACHE_HOME": str(parent / "cache"),
    }
    return Project(
        folder=folder,
        registry=f"{sandbox.registry}/test-{uuid.uuid4().hex[:8]}",
        environment=environment,
    )


@pytest.fixture
def project(sandbox: Sandbox, tmp_path: Path) -> Project:
    return make_project(sandbox, tmp_path)


@pytest.fixture
def engine(sandbox: Sandbox) -> docker.DockerClient:
    """To look at what the tool built."""
    environment = {**os.environ, **sandbox.environment}
    return docker.from_env(environment=environment)
