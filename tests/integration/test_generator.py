"""The plugin's generator, as we call it, against the same call by hand."""

import json
import os
import subprocess
import sys

import pytest

from aicore_build.flow import read_flow
from aicore_build.generators import sap
from tests.integration.conftest import Project


@pytest.mark.parametrize("embedded", [False, True], ids=["plain", "embedded"])
def test_what_it_makes_is_what_it_makes_by_hand(
    project: Project, monkeypatch: pytest.MonkeyPatch, embedded: bool
) -> None:
    script = project.write_flow(project.image("a:v1"))
    # With this, Metaflow uses the package kubernetes, which otherwise it only looks for.
    tolerates = 'tolerations=[{"key": "gpu", "operator": "Exists"}], image='
    script.write_text(script.read_text().replace("image=", tolerates))
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)

    flow = read_flow(script, sys.executable)
    ours = sap.generate(flow, embedded=embedded, timeout=60).workflow_template

    command = [sys.executable, script.name, "--quiet", "--datastore=s3", "argo", "create"]
    command += ["--only-json", *(["--embedded"] if embedded else [])]
    by_hand = subprocess.run(
        command, cwd=script.parent, env=dict(os.environ), capture_output=True, check=True
    )
    assert ours == json.loads(by_hand.stdout)
