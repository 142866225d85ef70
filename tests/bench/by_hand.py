"""`aicore-build prod` against the same job by hand with the docker CLI."""

import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.embed import DOCKER
from tests.bench.flows import GENERATOR, IMAGES, FlowFolder, three_images
from tests.bench.report import Mark, Row
from tests.bench.stage import Stage
from tests.bench.timing import Times, Way, alternate, note, ratio, ratios, spread
from tests.workbench import TOOL

AWS = Path(sys.executable).with_name("aws")

PROD, BY_HAND, BUILDKIT = "prod", "by hand", "by hand, BuildKit"
LIMIT = 0.7
"""At most this part of the time by hand."""

ABOUT = f"""\
Timed, from a flow file that has just been changed to a workflow template whose images are pushed;
the dev images of its three steps (three images) are in the engine and in the registry:

prod              `aicore-build prod`, with Docker, one process from its start to its end.
by hand           one after the other, as in a script: the generator; `aws s3 cp` of the code
                  package; for each image a Dockerfile (COPY job.tar, RUN tar xf …), `docker build`
                  and `docker push`; the generator with --embedded. DOCKER_BUILDKIT=0.
by hand, BuildKit the same with DOCKER_BUILDKIT=1.

By hand, nothing is verified or pinned by digest, and no secret is added to the workflow template.
Each run has a code package of its own, so that none finds another's layers. The CLI is {DOCKER}."""

DOCKERFILE = """\
FROM {image}
USER root
WORKDIR /user/home
COPY job.tar job.tar
RUN tar xf job.tar && rm job.tar && mkdir -p .metaflow && chmod -R a+rwX /user/home
ENV HOME=/user/home
"""


def measure(stage: Stage) -> Row:
    note("preparing: the dev images")
    job = Job(stage, three_images(stage.folder / "flow"))
    job.dev()
    ways: dict[str, Way] = {
        PROD: lambda stamp: job.changed(stamp, job.prod),
        BY_HAND: lambda stamp: job.changed(stamp, lambda: job.by_hand(f"hand-{stamp}")),
        BUILDKIT: lambda stamp: job.changed(
            stamp, lambda: job.by_hand(f"hand-{stamp}", buildkit=True)
        ),
    }
    try:
        times = alternate(ways, stage.rounds)
    finally:
        # The dev images stay, for the next time.
        stage.workbench.remove_images("-(prod|hand)-")
    return row(times, job.stages)


def row(times: Times, stages: dict[str, list[float]]) -> Row:
    lines = []
    for way, seconds in times.items():
        cells = [way, f"{min(seconds):.2f} s", f"{statistics.median(seconds):.2f} s"]
        if way != PROD:
            cells += [f"{ratio(times, PROD, way):.2f} of it", spread(ratios(times, PROD, way))]
        lines.append((*cells, *[""] * (5 - len(cells))))
    parts = ", ".join(f"{name} {statistics.median(s):.2f} s" for name, s in stages.items())
    return Row(
        title="prod with Docker, against the job by hand",
        about=f"{ABOUT}\nBy hand, the median of each command, warm-up included: {parts}.",
        heading=("", "min", "median", "prod takes", "round by round"),
        lines=tuple(lines),
        marks=(
            Mark(
                text="prod takes of the time by hand",
                value=ratio(times, PROD, BY_HAND),
                limit=LIMIT,
            ),
        ),
        numbers={"seconds": times, "seconds_of_commands_by_hand": stages},
    )


@dataclass(slots=True)
class Job:
    stage: Stage
    flow: FlowFolder

    stages: dict[str, list[float]] = field(default_factory=dict)
    """Seconds of the job by hand, by its way and command."""

    def dev(self) -> None:
        self._run([TOOL, "dev", "--no-template", "--flow", self.flow.script])

    def prod(self) -> None:
        self._run([TOOL, "prod", "--builder=docker", "--flow", self.flow.script])

    def changed(self, stamp: str, call: Callable[[], None]) -> Callable[[], None]:
        self.flow.change(stamp)
        return call

    def by_hand(self, tag: str, *, buildkit: bool = False) -> None:
        """What somebody's script does; `tag` is what the prod images get."""

        def run(stage: str, *command: str | Path) -> str:
            started = time.perf_counter()
            output = self._run([*command], buildkit=buildkit)
            key = f"{'BuildKit ' if buildkit else ''}{stage}"
            self.stages.setdefault(key, []).append(time.perf_counter() - started)
            return output

        generated = run("generator", sys.executable, *GENERATOR)
        found = re.search(r'download_file\(\\*"(.+?)\\*", *\\*"(.+?)\\*"', generated)
        if found is None:
            raise SystemExit("The generator wrote no address of a code package.")
        context = self.flow.folder / "context"
        context.mkdir(exist_ok=True)
        run("aws s3 cp", AWS, "s3", "cp", f"s3://{found[1]}/{found[2]}", context / "job.tar")
        for name in IMAGES:
            image = f"{self.stage.workbench.environment['REGISTRY']}/{name}:v1"
            text = DOCKERFILE.format(image=image)
            (context / "Dockerfile").write_text(text, encoding="utf-8")
            options = ["--network=host", "--tag", f"{image}-{tag}"]  # as prod builds in the sandbox
            run("docker build", DOCKER, "build", *options, context)
            run("docker push", DOCKER, "push", f"{image}-{tag}")
        embedded = run("generator", sys.executable, *GENERATOR, "--embedded")
        template = re.sub(r'(/bench-[abc]:v1)"', rf'\1-{tag}"', embedded)
        (self.flow.folder / "by-hand.json").write_text(template, encoding="utf-8")

    def _run(self, command: list[str | Path], *, buildkit: bool = False) -> str:
        environment = {"DOCKER_BUILDKIT": "1" if buildkit else "0"}
        return self.stage.run(command, folder=self.flow.folder, environment=environment)
