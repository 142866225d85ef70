"""How Metaflow is called for a flow: the reader and the generators do it alike."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aicore_build.errors import FlowError
from aicore_build.process import ProcessError, run

_BAKED = Path(__file__).parent / "flows_python" / "baked"
"""Gives Metaflow the environment `fast-bakery`."""

_LAUNCH = Path(__file__).parent / "flows_python" / "launch.py"
"""Runs a flow with a Metaflow that forgets git, and has a folder for S3."""

_WITH_STUBS = Path(__file__).parent / "flows_python" / "with_stubs.py"
"""Runs a flow with stand-ins for what is not installed."""

OWN_OPTIONS = ("--datastore", "--datastore-root", "--environment")
"""Top-level options that are ours to give."""


_NO_EVENTS = {
    f"METAFLOW_ARGO_EVENTS_{name}": "none"
    for name in ("EVENT", "EVENT_BUS", "EVENT_SOURCE", "SERVICE_ACCOUNT")
}
"""Metaflow wants to know where events come from; on SAP AI Core none come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetaflowCall:
    """What every call of Metaflow for one flow has in common."""

    python: str
    script: Path

    options: tuple[str, ...] = ()
    """Top-level options of the user's, such as `--with retry`."""

    baked: bool = False
    """The packages of @pypi and @conda are in the images: Metaflow makes no environment."""

    triggered: bool = False
    """The flow has @trigger, which upstream Metaflow generates only where it knows of events."""

    packages: Path | None = None
    """A folder that takes the code package instead of S3; it has to be there."""

    without_git: bool = False
    """This Metaflow would put the commit into the code package."""

    stubs: bool = False
    """Libraries that the flow imports are not installed here: stand-ins take their place."""


def run_metaflow(
    call: MetaflowCall,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout: float,
) -> str:
    """Run `python flow.py <the user's options> <arguments>` in the flow's folder; return stdout.

    Args:
        call: for which flow, and how.
        arguments: further top-level options, the sub-command and its options.
        environment: the whole environment; PYTHONPATH gets what the call needs.
        timeout: seconds.

    Raises:
        FlowError: an option is one that aicore-build gives itself.
        ProcessError: as `run` raises it.
    """
    check_options(call.options)
    variables = {**(_NO_EVENTS if call.triggered else {}), **environment}
    if call.baked:
        put_first_on_path(variables, _BAKED)
    kind = "fast-bakery" if call.baked else "local"
    launcher = []
    if call.packages or call.without_git:
        launcher = [str(_LAUNCH), str(call.packages or "-")]
    launcher += [str(_WITH_STUBS)] if call.stubs else []
    with _visible(call.script) as script:
        command = [call.python, *launcher, script, *call.options]
        command += ["--quiet", "--no-pylint", f"--environment={kind}", *arguments]
        try:
            return run(command, cwd=call.script.parent, environment=variables, timeout=timeout)
        except ProcessError as error:
            folder = os.path.dirname(script)  # noqa: PTH120 - a text, to find it in a text
            if folder:
                error.stderr = error.stderr.replace(folder, str(call.script.parent))
            raise


def check_options(options: Sequence[str]) -> None:
    """Refuse options that can't be passed on.

    Raises:
        FlowError: one is aicore-build's own, or the first is none.
    """
    if options and not options[0].startswith("-"):
        raise FlowError(
            f"{options[0]!r} is no option of Metaflow.\nWhat stands behind `--` are options that "
            "go before Metaflow's sub-command: aicore-build dev -- --with retry."
        )
    for option in options:
        name = option.partition("=")[0]
        if name in OWN_OPTIONS:
            raise FlowError(
                f"Metaflow's option {name} is given by aicore-build itself: leave it out.\n"
                "Code and data are in S3, and the packages of @pypi and @conda in the images."
            )


def put_first_on_path(environment: dict[str, str], folder: Path) -> None:
    """Let the flow's Python look for modules in a folder of ours before all others."""
    before = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{folder}{os.pathsep}{before}" if before else str(folder)


@contextlib.contextmanager
def _visible(script: Path) -> Iterator[str]:
    """The script as Metaflow is to see it: through a link, where its folder is a hidden one.

    Metaflow 2.12 packs no file of a flow below a hidden folder, and doesn't say so.
    """
    if not is_hidden(script.parent):
        yield script.name
        return
    with tempfile.TemporaryDirectory(prefix="aicore-build-") as folder:
        if is_hidden(Path(folder)):
            raise FlowError(
                f"{script} is below a hidden folder, of which Metaflow packs nothing.\n"
                "Move the flow, or set TMPDIR to a folder that is not hidden."
            )
        link = Path(folder) / (script.parent.name.lstrip(".") or "flow")
        link.symlink_to(script.parent, target_is_directory=True)
        yield str(link / script.name)


def is_hidden(folder: Path) -> bool:
    """Whether the name of a folder, or of one above it, begins with a dot."""
    return re.search(r"/\.", str(folder)) is not None
