"""Flow file → `Flow`: read by Metaflow itself, in the flow's own Python, without network."""

import ast
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aicore_build.errors import FlowError, GeneratorError, SettingsError
from aicore_build.process import ProcessError, run

EXTENSION = Path(__file__).parent / "metaflow_extension"
"""Gives Metaflow the sub-command `aicore-inspect`; on PYTHONPATH for that one call."""

_READ_TIMEOUT = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step as Metaflow resolved it."""

    name: str

    image: str | None
    """The image reference of its @kubernetes; None where neither step nor environment name one."""

    decorators: Mapping[str, Mapping[str, Any]]
    """Attributes by the decorator's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A flow as Metaflow sees it."""

    name: str
    script: Path

    python: str
    """The interpreter that it was read with."""

    python_version: str
    metaflow_version: str

    plugin_version: str | None
    """Of sap-ai-core-metaflow; None where it is not installed beside the flow."""

    datastore_root: str | None
    """`s3://bucket/prefix` from Metaflow's configuration."""

    s3_endpoint: str | None
    """Of a store that is not AWS, from Metaflow's configuration."""

    steps: tuple[Step, ...]
    """In graph order: each after all those before it."""


def find_flow(folder: Path) -> Path:
    """Find the one file in a folder that defines a flow, without running anything.

    Raises:
        FlowError: there is none, or more than one.
    """
    found = sorted(path for path in folder.glob("*.py") if _defines_flow(path))
    if not found:
        raise FlowError(
            f"No file in {folder} defines a flow (a class with the base FlowSpec).\n"
            "Name the flow's file: --flow path/to/trainflow.py."
        )
    if len(found) > 1:
        raise FlowError(
            f"Several files in {folder} define a flow: {', '.join(p.name for p in found)}.\n"
            f"Choose one: --flow {found[0].name}, or the setting flow."
        )
    return found[0]


def _defines_flow(path: Path) -> bool:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return False
    bases = (base for node in tree.body if isinstance(node, ast.ClassDef) for base in node.bases)
    return any(ast.unparse(base).rpartition(".")[2] == "FlowSpec" for base in bases)


def metaflow_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a call of Metaflow, the same for the reader and the generator.

    The user's name gets into labels and the code package: it has to be a valid label value, and
    Metaflow refuses `root` and no name at all.
    """
    names = (environment.get(key) for key in ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER"))
    user = next((name for name in names if name and name != "root"), "aicore-build")
    user = re.sub(r"[^a-z0-9-]+", "-", user.lower()).strip("-")[:63].rstrip("-")
    return {**environment, "METAFLOW_USER": user or "aicore-build"}


def put_first_on_path(environment: dict[str, str], folder: Path) -> None:
    """Let the flow's Python look for modules in a folder of ours before all others."""
    before = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{folder}{os.pathsep}{before}" if before else str(folder)


def read_flow(script: Path, python: str) -> Flow:
    """Let Metaflow read a flow; runs the flow's module code in its own Python, in its folder.

    Raises:
        FlowError: there is no such file, it doesn't import, or Metaflow finds it invalid.
        SettingsError: the interpreter can't be started.
        GeneratorError: the interpreter has no Metaflow.
    """
    if not script.is_file():
        raise FlowError(f"There is no file {script}.\nName the flow's file: --flow trainflow.py.")
    script = script.resolve()
    environment = metaflow_environment(os.environ)
    put_first_on_path(environment, EXTENSION)
    with tempfile.TemporaryDirectory(prefix="aicore-build-") as folder:
        out = Path(folder) / "flow.json"
        command = [python, script.name, "--quiet", "--no-pylint", "--metadata=local"]
        command += ["--event-logger=nullSidecarLogger", "--monitor=nullSidecarMonitor"]
        # @kubernetes asks for S3 when it is set up; any root will do, since nothing is fetched.
        command += ["--datastore=s3", "--datastore-root=s3://aicore-build/inspect"]
        command += ["aicore-inspect", "--out", str(out)]
        try:
            run(command, cwd=script.parent, environment=environment, timeout=_READ_TIMEOUT)
        except ProcessError as error:
            raise _explain(error, script, python) from error
        if not out.is_file():
            raise FlowError(
                f"{script} ran, but did not start its flow.\n"
                'End it with: if __name__ == "__main__": TrainFlow()'
            )
        return parse_flow(json.loads(out.read_text(encoding="utf-8")), script, python)


def parse_flow(document: Mapping[str, Any], script: Path, python: str) -> Flow:
    """Make a `Flow` of what `aicore-inspect` wrote."""
    return Flow(
        name=document["flow"],
        script=script,
        python=python,
        python_version=document["python_version"],
        metaflow_version=document["metaflow_version"],
        plugin_version=document["plugin_version"],
        datastore_root=document["datastore_root"],
        s3_endpoint=document["s3_endpoint"],
        steps=tuple(
            Step(
                name=step["name"],
                image=step["image"],
                decorators={d["name"]: d["attributes"] for d in step["decorators"]},
            )
            for step in document["steps"]
        ),
    )


def _explain(
    error: ProcessError, script: Path, python: str
) -> FlowError | GeneratorError | SettingsError:
    if "could not be started" in error.reason:
        return SettingsError(
            f"The flow's Python can't be used: {error.reason}.\n"
            "Name the interpreter that has Metaflow with the setting python."
        )
    if re.search(r"No module named 'metaflow'", error.stderr):
        return GeneratorError(plugin_missing(python, "Metaflow"))
    return FlowError(
        f"Metaflow could not read {script}: {error.reason}.\n"
        f"{shorten_traceback(error.stderr, script.parent)}"
    )


def plugin_missing(python: str, what: str) -> str:
    """What to say when the flow's Python lacks Metaflow or the plugin."""
    return (
        f"{what} is not installed in the flow's Python, {python}.\n"
        f"Install it: {python} -m pip install sap-ai-core-metaflow\n"
        "or name the interpreter that has it with the setting python."
    )


def shorten_traceback(stderr: str, folder: Path) -> str:
    """Keep of a traceback the frames of files below a folder, and the exception.

    What is not a traceback, such as Metaflow's own messages, is kept: its last 20 lines.
    """
    lines = stderr.rstrip().splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    if not starts:
        return "\n".join(f"  {line}".rstrip() for line in lines[-20:])
    kept, keep = [], True
    for line in lines[starts[-1] + 1 :]:
        if frame := re.match(r'  File "(.+?)", line', line):
            path = Path(frame[1])
            keep = path.is_relative_to(folder) and "site-packages" not in path.parts
        elif not line.startswith("    "):
            keep = True
        if keep:
            kept.append(f"  {line}")
    return "\n".join(kept[-40:])
