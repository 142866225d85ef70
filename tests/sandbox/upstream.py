"""A Python with upstream Metaflow and without SAP's plugin, as in a flow's own environment."""

import subprocess
import sys
from pathlib import Path

from tests.sandbox.report import SandboxError
from tests.sandbox.state import Store

PACKAGES = ("metaflow>=2.19", "kubernetes", "boto3>=1.34", "requests")


def upstream_python(store: Store) -> Path:
    """Return its interpreter; makes the environment on first use, which takes some seconds."""
    folder = store.root / "metaflow-upstream"
    python = folder / "bin" / "python"
    done = folder / "installed"
    with store.locked():
        if not done.is_file():
            _uv("venv", "--clear", "--python", sys.executable, folder)
            _uv("pip", "install", "--python", python, *PACKAGES)
            done.touch()
    return python


def _uv(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "uv", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SandboxError(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
