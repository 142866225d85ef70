"""Build two example flows for SAP AI Core, and run each of their steps on this machine."""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.sandbox import SandboxError, start
from tests.workbench import Workbench

FLOWS = {
    "trainflow": "three steps that share one image",
    "hyperparameters": "a foreach, and scikit-learn only in the image that trains",
}
PROD_ALONE = {"hyperparameters"}
"""Flows that are shown without `dev`: `prod` builds the dev images that the registry lacks."""

OUT = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What the demo did with one flow."""

    flow: str
    images: tuple[str, ...]
    workflow_template: Path
    runs: int
    """How many containers ran."""

    page: Path
    seconds: dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument("flow", nargs="*", help=f"of {', '.join(FLOWS)}; all by default")
    flows = parser.parse_args().flow or list(FLOWS)
    if unknown := [flow for flow in flows if flow not in FLOWS]:
        parser.error(f"there is no example {', '.join(unknown)}")
    try:
        demonstrate(flows)
    except subprocess.CalledProcessError as error:
        say(f"[red]aicore-build failed[/] with exit code {error.returncode}: see above.")
        return 1
    except SandboxError as error:
        OUT.print(Text(str(error), style="red"))
        return 1
    return 0


def demonstrate(flows: list[str]) -> None:
    began = time.monotonic()
    title("The sandbox", "Docker Engine, registry and S3 on this machine")
    sandbox = start()
    say(f"registry {sandbox.registry}, S3 {sandbox.s3_endpoint}; `make sandbox-stop` ends it")
    # Kept, so that the results can be looked at.
    folder = Path(tempfile.mkdtemp(prefix="aicore-build-demo-"))
    bench = Workbench.prepare(sandbox, folder, "demo")
    made = [demonstrate_flow(bench, flow) for flow in flows]
    title("Done", f"in {time.monotonic() - began:.0f} s")
    for one in made:
        show_made(one)


def demonstrate_flow(bench: Workbench, flow: str) -> Made:
    title(f"examples/{flow}", FLOWS[flow])
    stopwatch = Stopwatch()
    seconds = {}
    if flow not in PROD_ALONE:
        command(bench, "dev")
        say(bench.build(flow, "dev").rstrip())
        seconds["dev"] = stopwatch.lap()
    command(bench, f"prod --flow {flow}.py --json")
    result = bench.prod(flow)
    seconds["prod"] = stopwatch.lap()
    address = result["code_package"]["address"]
    bench.delete_code_packages(address)
    say(f"\nThe code is in the images now, and no longer in S3. Deleted: {address}")
    path = Path(result["workflow_template"]["path"])
    command(bench, f"lint {path.name}")
    bench.build(flow, "lint", path.name)
    say("\nEach step, in its image by digest, as user 65534 without any privilege:\n")
    page = path.with_name(f"{flow}.html")
    command(bench, f"verify {path.name} --html {page.name}")
    report = bench.verify(path, "--html", str(page))
    return Made(
        flow=flow,
        images=tuple(image["pinned"] for image in result["images"]),
        workflow_template=path,
        runs=len(report["runs"]),
        page=page,
        seconds={**seconds, "verify": stopwatch.lap()},
    )


class Stopwatch:
    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        """Seconds since the lap before."""
        before, self._last = self._last, time.monotonic()
        return self._last - before


def title(text: str, about: str) -> None:
    OUT.print(f"\n[bold]── {text}[/] [dim]{about}[/]\n")


def command(bench: Workbench, arguments: str) -> None:
    registry = bench.environment["REGISTRY"]
    OUT.print(f"[bold green]$[/] REGISTRY={registry} aicore-build {arguments}")


def say(text: str) -> None:
    OUT.print(text)


def show_made(made: Made) -> None:
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in made.seconds.items())
    say(f"[bold]{made.flow}[/]: {made.runs} containers ran ({seconds})")
    for image in made.images:
        say(f"  image     {image}")
    say(f"  workflow  {made.workflow_template}")
    say(f"  report    {made.page}")


if __name__ == "__main__":
    sys.exit(main())
