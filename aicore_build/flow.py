"""Flow file → `Flow`: read by Metaflow itself, in the flow's own Python, without network."""

import ast
import functools
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aicore_build.errors import FlowError, GeneratorError, SettingsError
from aicore_build.metaflow_call import MetaflowCall, put_first_on_path, run_metaflow
from aicore_build.process import ProcessError

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

    kind: str = "linear"
    """Metaflow's type of node: start, linear, split, split-switch, foreach, join, end."""

    next: tuple[str, ...] = ()
    """The steps that it may go to."""

    parallel: bool = False
    """It runs on several machines at once, or starts a step that does."""

    added: tuple[str, ...] = ()
    """Names of the decorators that are not in the code but come from `--with` and the like."""

    foreign: tuple[str, ...] = ()
    """Names of the decorators that are neither Metaflow's nor the plugin's."""


_RECORDS_GIT = (2, 16)
"""The first Metaflow that puts the commit into the code package."""


def version_of(text: str) -> tuple[int, ...]:
    """The numbers of a version of Metaflow, three at most."""
    return tuple(map(int, re.findall(r"\d+", text)[:3]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of the flow."""

    name: str

    kind: str
    """The class: Parameter, IncludeFile, JSONTypeParameter, Config, …"""

    required: bool = False
    has_default: bool = False


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

    decorators: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Attributes by the name of a decorator of the flow itself."""

    foreign: tuple[str, ...] = ()
    """Names of those that are not Metaflow's."""

    parameters: tuple[Parameter, ...] = ()

    package_suffixes: tuple[str, ...] = (".R", ".RDS", ".py")
    """What the names of the files end with that get into the code package."""

    options: tuple[str, ...] = ()
    """Metaflow's top-level options, as the user gave them: they go before any sub-command."""

    stubs: tuple[str, ...] = ()
    """Modules that the flow imports and that are not installed here; stand-ins took their place."""

    @property
    def call(self) -> MetaflowCall:
        """How Metaflow is called for it."""
        return MetaflowCall(
            python=self.python,
            script=self.script,
            options=self.options,
            baked=any(name in step.decorators for step in self.steps for name in PACKAGED_BY),
            triggered=any(name.startswith("trigger") for name in self.decorators),
            without_git=version_of(self.metaflow_version) >= _RECORDS_GIT,
            stubs=bool(self.stubs),
        )


PACKAGED_BY = ("pypi", "conda")
"""The decorators of a step that name its packages."""


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


_STAND_IN_TEXT = re.compile(r"not-installed:([\w.]+)")
"""What a stand-in for something that is not installed looks like as text."""


def read_flow(script: Path, python: str, options: tuple[str, ...] = ()) -> Flow:
    """Let Metaflow read a flow; runs the flow's module code in its own Python, in its folder.

    Args:
        script: the flow's file.
        python: the interpreter that has its Metaflow.
        options: Metaflow's top-level options.

    Raises:
        FlowError: there is no such file, it doesn't import, Metaflow finds it invalid, or what it
            says depends on a library that is not installed here.
        SettingsError: the interpreter can't be started.
        GeneratorError: the interpreter has no Metaflow.
    """
    if not script.is_file():
        raise FlowError(f"There is no file {script}.\nName the flow's file: --flow trainflow.py.")
    script = script.resolve()
    # Metaflow accepts @pypi and @conda only with an environment that is made for them.
    call = MetaflowCall(python=python, script=script, options=options, baked=True)
    try:
        return parse_flow(_inspect(call), script, python, options)
    except ProcessError as error:
        missing = re.search(r"^ModuleNotFoundError: No module named '(.+?)'", error.stderr, re.M)
        if missing is None or missing[1].partition(".")[0] == "metaflow":
            raise _explain(error, script, python) from error
        plain = error
    try:
        return _read_with_stubs(replace(call, stubs=True))
    except ProcessError as error:
        why = shorten_traceback(error.stderr, script.parent).splitlines()[-1:]
        raise FlowError(
            f"{_explain(plain, script, python)}\nWith a stand-in for it: {''.join(why).strip()}"
        ) from error


def _read_with_stubs(call: MetaflowCall) -> Flow:
    """Read a flow with stand-ins for the libraries that are not installed here.

    A flow may ask a stand-in whether it is true (`if torch.cuda.is_available():`). It is then read
    with both answers, and refused if what Metaflow says of it differs.
    """
    with tempfile.TemporaryDirectory(prefix="aicore-build-") as folder:
        report = Path(folder) / "stubs"
        no, yes = [
            functools.partial(
                _inspect, call, AICORE_BUILD_STUBS=str(report), AICORE_BUILD_STUBS_ARE=answer
            )
            for answer in ("false", "true")
        ]
        document = no()
        lines = dict.fromkeys(report.read_text(encoding="utf-8").splitlines())
        asked = tuple(line[1:] for line in lines if line.startswith("?"))
        if asked and document != yes():
            raise FlowError(
                f"{call.script} decides by what is not installed here: {', '.join(asked)}.\n"
                "Install the library beside Metaflow, or import it inside the step that uses it."
            )
    found = _STAND_IN_TEXT.findall(json.dumps(document))
    if found:
        raise FlowError(
            f"A decorator, an image or a parameter of {call.script} depends on what is not "
            f"installed here: {', '.join(dict.fromkeys(found))}.\n"
            "Install the library beside Metaflow, or write the value itself."
        )
    modules = tuple(line for line in lines if not line.startswith("?"))
    flow = parse_flow(document, call.script, call.python, call.options)
    return replace(flow, stubs=modules)


def _inspect(call: MetaflowCall, **variables: str) -> Mapping[str, Any]:
    """Let Metaflow write what it knows of a flow.

    Raises:
        FlowError: the file ran, but not as a flow.
        ProcessError: Metaflow could not be called, or failed.
    """
    environment = {**metaflow_environment(os.environ), **variables}
    put_first_on_path(environment, EXTENSION)
    with tempfile.TemporaryDirectory(prefix="aicore-build-") as folder:
        out = Path(folder) / "flow.json"
        arguments = ["--event-logger=nullSidecarLogger", "--monitor=nullSidecarMonitor"]
        # @kubernetes asks for S3 when it is set up; any root will do, since nothing is fetched.
        arguments += ["--datastore=s3", "--datastore-root=s3://aicore-build/inspect"]
        arguments += ["--metadata=local", "aicore-inspect", "--out", str(out)]
        run_metaflow(call, arguments, environment=environment, timeout=_READ_TIMEOUT)
        if not out.is_file():
            raise FlowError(
                f"{call.script} ran, but did not start its flow.\n"
                'End it with: if __name__ == "__main__": TrainFlow()'
            )
        document: Mapping[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return document


def parse_flow(
    document: Mapping[str, Any], script: Path, python: str, options: tuple[str, ...] = ()
) -> Flow:
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
        steps=tuple(_parse_step(step) for step in document["steps"]),
        decorators=_attributes(document["decorators"]),
        foreign=_foreign(document["decorators"]),
        parameters=tuple(Parameter(**parameter) for parameter in document["parameters"]),
        package_suffixes=tuple(document["package_suffixes"]),
        options=options,
    )


def _parse_step(step: Mapping[str, Any]) -> Step:
    return Step(
        name=step["name"],
        image=step["image"],
        decorators=_attributes(step["decorators"]),
        kind=step["kind"],
        next=tuple(step["next"]),
        parallel=step["parallel"],
        added=tuple(d["name"] for d in step["decorators"] if not d["in_code"]),
        foreign=_foreign(step["decorators"]),
    )


def _attributes(decorators: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {decorator["name"]: decorator["attributes"] for decorator in decorators}


def _foreign(decorators: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    ours = ("metaflow.", "metaflow_extensions.sap.")
    return tuple(d["name"] for d in decorators if not d["module"].startswith(ours))


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
    said = shorten_traceback(error.stderr, script.parent)
    return FlowError(f"Metaflow could not read {script}: {error.reason}.\n{said}{_advice(said)}")


ELSEWHERE = {
    "batch": "AWS Batch",
    "nvidia": "NVIDIA's cloud",
    "nvct": "NVIDIA's cloud",
    "slurm": "a Slurm cluster",
    "snowpark": "Snowflake",
    "skypilot_step": "SkyPilot",
    "step_functions": "AWS Step Functions",
}
"""Decorators that send a step to another place, and which."""

_NEWER = ("Config", "FlowMutator", "StepMutator", "config_expr", "exit_hook", "user_step_decorator")
"""What upstream Metaflow has and 2.12, which the plugin needs, has not."""


_ADVICE = {
    r"Add an? \*?(start|end)\*? step": (
        "If the steps are inherited: Metaflow 2.12 sees only those in the flow's own class. Write "
        "them there, or use Metaflow 2.19."
    ),
    r"invalid self\.next\(\) transition": (
        "If it is a switch (condition=…): Metaflow 2.12 has none; Metaflow 2.19 has."
    ),
    r"ModuleNotFoundError": (
        "Install it beside Metaflow, or import it inside the step that uses it."
    ),
}
"""What to do, by what a call of Metaflow says when it fails."""


def _advice(said: str) -> str:
    """What to do about what Metaflow, or the import of a flow, failed with."""
    if missing := re.search(r"cannot import name '(\w+)' from 'metaflow'", said):
        return _without(missing[1])
    return next((f"\n{text}" for pattern, text in _ADVICE.items() if re.search(pattern, said)), "")


def _without(name: str) -> str:
    if name in _NEWER:
        return f"\nMetaflow 2.12, which SAP's plugin needs, has no {name}; Metaflow 2.19 has."
    if name == "argo":
        return "\n@argo is a part of the plugin sap-ai-core-metaflow, not of Metaflow itself."
    if name in ELSEWHERE:
        return f"\nSAP AI Core runs every step itself: @{name} is for {ELSEWHERE[name]}."
    return ""


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
