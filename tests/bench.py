"""Time `aicore-build prod` against the same job by hand with the docker CLI, side by side."""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tests.sandbox import SandboxError, start
from tests.workbench import Workbench

MARK = 0.7
"""At most this part of the time by hand."""

DOCKER = shutil.which("docker", path="/usr/bin") or "docker"
AWS = Path(sys.executable).with_name("aws")

TIMED = f"""\
Timed, from a flow file that has just been changed to a workflow template whose images are pushed;
the dev images of its three steps (three images) are in the engine and in the registry:

prod              `aicore-build prod --flow benchflow.py`, one process from its start to its end.
by hand           one after the other, as in a script: the generator; `aws s3 cp` of the code
                  package; for each image a Dockerfile (COPY job.tar, RUN tar xf …), `docker build`
                  and `docker push`; the generator with --embedded. DOCKER_BUILDKIT=0.
by hand, BuildKit the same with DOCKER_BUILDKIT=1.

By hand, nothing is verified or pinned by digest, and no secret is added to the workflow template.
Each run has a code package of its own, so that none finds another's layers. The CLI is {DOCKER}.
"prod takes" compares medians; "round by round" compares what ran in the same round.
"""

FLOW = """\
import os

from metaflow import FlowSpec, kubernetes, step

REGISTRY = os.environ.get("REGISTRY", "localhost:5000")


class BenchFlow(FlowSpec):
    @kubernetes(image=f"{REGISTRY}/bench-a:v1")
    @step
    def start(self):
        self.next(self.train_model)

    @kubernetes(image=f"{REGISTRY}/bench-b:v1")
    @step
    def train_model(self):
        self.next(self.end)

    @kubernetes(image=f"{REGISTRY}/bench-c:v1")
    @step
    def end(self):
        pass


if __name__ == "__main__":
    BenchFlow()
"""
IMAGES = ("bench-a", "bench-b", "bench-c")

SETTINGS = """\
scenario-id = "bench"
scenario-name = "Bench"
version = "1"

# Something small, so that there are three different images.
images."*/bench-b:v1".requirements = ["tabulate"]
images."*/bench-c:v1".requirements = ["toolz"]
"""

DOCKERFILE = """\
FROM {image}
USER root
WORKDIR /user/home
COPY job.tar job.tar
RUN tar xf job.tar && rm job.tar && mkdir -p .metaflow && chmod -R a+rwX /user/home
ENV HOME=/user/home
"""

GENERATOR = (
    "benchflow.py",
    "--with=kubernetes:secrets=default-object-store-secret",
    "argo",
    "create",
    "--image-pull-secret=docker-registry-secret",
    "--label=scenarios.ai.sap.com/id:bench",
    "--label=ai.sap.com/version:1",
    "--annotation=scenarios.ai.sap.com/name:Bench",
    "--annotation=executables.ai.sap.com/name:benchflow",
    "--only-json",
)


@dataclass(slots=True)
class Bench:
    workbench: Workbench
    folder: Path

    stages: dict[str, list[float]] = field(default_factory=dict)
    """Seconds of the job by hand, by its way and command."""

    def prod(self, _tag: str) -> None:
        self._run([Path(sys.executable).with_name("aicore-build"), "prod", "--flow", self.script])

    def by_hand(self, tag: str, *, buildkit: bool = False) -> None:
        """What somebody's script does; `tag` is what the prod images get."""
        environment = {
            "METAFLOW_DEFAULT_DATASTORE": "s3",
            "DOCKER_BUILDKIT": "1" if buildkit else "0",
        }

        def run(stage: str, *command: str | Path) -> str:
            started = time.monotonic()
            output = self._run(command, environment)
            key = f"{'BuildKit ' if buildkit else ''}{stage}"
            self.stages.setdefault(key, []).append(time.monotonic() - started)
            return output

        generated = run("generator", sys.executable, *GENERATOR)
        found = re.search(r'download_file\(\\*"(.+?)\\*", *\\*"(.+?)\\*"', generated)
        if found is None:
            raise SystemExit("The generator wrote no address of a code package.")
        context = self.folder / "context"
        context.mkdir(exist_ok=True)
        run("aws s3 cp", AWS, "s3", "cp", f"s3://{found[1]}/{found[2]}", context / "job.tar")
        for name in IMAGES:
            image = f"{self.workbench.environment['REGISTRY']}/{name}:v1"
            text = DOCKERFILE.format(image=image)
            (context / "Dockerfile").write_text(text, encoding="utf-8")
            options = ["--network=host", "--tag", f"{image}-{tag}"]  # as prod builds in the sandbox
            run("docker build", DOCKER, "build", *options, context)
            run("docker push", DOCKER, "push", f"{image}-{tag}")
        embedded = run("generator", sys.executable, *GENERATOR, "--embedded")
        template = re.sub(r'(/bench-[abc]:v1)"', rf'\1-{tag}"', embedded)
        (self.folder / "by-hand.json").write_text(template, encoding="utf-8")

    @property
    def script(self) -> Path:
        return self.folder / "benchflow.py"

    def change_flow(self, what: str) -> None:
        self.script.write_text(f"{FLOW}# {what}\n", encoding="utf-8")

    def prepare(self) -> None:
        """Make sure that the dev images are there."""
        self.folder.mkdir(parents=True)
        (self.folder / "aicore-build.toml").write_text(SETTINGS, encoding="utf-8")
        self.change_flow("dev")
        tool = Path(sys.executable).with_name("aicore-build")
        self._run([tool, "dev", "--no-template", "--flow", self.script])

    def clean_up(self) -> None:
        """Remove the prod images from the engine; the dev images stay, for the next time."""
        self.workbench.remove_images("-(prod|hand)-")

    def _run(
        self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.workbench.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
        return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each runs (5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to a file")
    arguments = parser.parse_args()
    try:
        sandbox = start()
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="aicore-build-bench-") as folder:
        bench = Bench(Workbench(sandbox, Path(folder), "bench"), Path(folder) / "flow")
        ways: dict[str, Callable[[str], None]] = {
            "prod": bench.prod,
            "by hand": bench.by_hand,
            "by hand, BuildKit": lambda tag: bench.by_hand(tag, buildkit=True),
        }
        try:
            print("preparing: the dev images", file=sys.stderr)
            bench.prepare()
            times = measure(bench, ways, arguments.rounds)
        finally:
            bench.clean_up()
    report(times, bench.stages)
    if arguments.json:
        arguments.json.write_text(
            json.dumps(as_json(times, bench.stages), indent=2) + "\n", encoding="utf-8"
        )
    return 0


def measure(
    bench: Bench, ways: Mapping[str, Callable[[str], None]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each way in each round; the ways take turns in who comes first."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    order = list(ways)
    stamp = int(time.time())  # what an earlier benchmark built must not be found
    for number in range(rounds + 1):
        for position, way in enumerate(order):
            tag = f"hand-{stamp}-{number}-{position}"
            bench.change_flow(tag)
            started = time.monotonic()
            ways[way](tag)
            seconds = time.monotonic() - started
            print(f"round {number}: {way} {seconds:.2f} s", file=sys.stderr, flush=True)
            if number:
                times[way].append(seconds)
        if not number:
            bench.stages.clear()
            print("(round 0 is a warm-up and not counted)", file=sys.stderr)
        order.append(order.pop(0))
    return times


def ratios(times: Mapping[str, list[float]], way: str) -> list[float]:
    """Of prod to a way by hand, round by round."""
    return [prod / hand for prod, hand in zip(times["prod"], times[way], strict=True)]


def report(times: Mapping[str, list[float]], stages: Mapping[str, list[float]]) -> None:
    console = Console(highlight=False, width=100)
    console.print(f"\n{TIMED}", markup=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("", "min", "median", "prod takes", "round by round"):
        table.add_column(heading, justify="left" if not heading else "right")
    for way, seconds in times.items():
        cells = [way, f"{min(seconds):.2f} s", f"{statistics.median(seconds):.2f} s"]
        if way != "prod":
            rounds = " ".join(f"{ratio:.2f}" for ratio in ratios(times, way))
            cells += [f"{ratio_of_medians(times, way):.2f} of it", rounds]
        table.add_row(*cells)
    console.print(table)
    parts = ", ".join(f"{name} {statistics.median(s):.2f} s" for name, s in stages.items())
    console.print(f"\nBy hand, the median of each command: {parts}.")
    console.print(f"{os.cpu_count()} cores; load {os.getloadavg()[0]:.1f} at the end.")
    ratio = ratio_of_medians(times, "by hand")
    verdict = "reached" if ratio <= MARK else "missed"
    console.print(f"Mark: prod takes at most {MARK} of by hand. It takes {ratio:.2f}: {verdict}.")


def ratio_of_medians(times: Mapping[str, list[float]], way: str) -> float:
    return statistics.median(times["prod"]) / statistics.median(times[way])


def as_json(times: Mapping[str, list[float]], stages: Mapping[str, list[float]]) -> object:
    hands = [way for way in times if way != "prod"]
    return {
        "cores": os.cpu_count(),
        "docker": DOCKER,
        "seconds": times,
        "ratio_of_medians": {way: ratio_of_medians(times, way) for way in hands},
        "ratios": {way: ratios(times, way) for way in hands},
        "seconds_of_commands_by_hand": stages,
        "mark": MARK,
    }


if __name__ == "__main__":
    sys.exit(main())
