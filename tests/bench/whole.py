"""`prod` as a whole against the generator alone, with a changed flow and with nothing changed."""

import statistics
import sys
from collections.abc import Callable

from tests.bench.flows import GENERATOR, FlowFolder, three_images
from tests.bench.report import Mark, Row
from tests.bench.stage import Stage
from tests.bench.timing import Times, Way, alternate, beyond, ratio, ratios, spread
from tests.workbench import TOOL

GENERATED = "generator"
PROD = "prod --builder registry"
DEV, PLAN = "dev --no-template", "plan"

CHANGED_ABOUT = """\
Timed, as processes from their start to their end: three steps with three images, whose dev images
are in the registry, and a changed flow each round. The generator is one call of
`python benchflow.py --datastore=s3 … argo create --only-json`, as somebody makes it without the
tool; prod reads the flow, calls the generator twice, embeds and pushes."""

UNCHANGED_ABOUT = """\
The same flow and images, and nothing changed since the last run. `plan` reads the flow and little
else."""


def measure_changed(stage: Stage) -> Row:
    flow = prepare(stage)
    ways = {
        PROD: changed(flow, prod(stage, flow)),
        GENERATED: changed(flow, generator(stage, flow)),
    }
    times = alternate(ways, stage.rounds)
    mark = Mark(
        text=f"{PROD} takes the time of one call of the generator, times",
        value=ratio(times, PROD, GENERATED),
        limit=1.35,
    )
    return Row(
        title="prod as a whole, three images, a changed flow",
        about=CHANGED_ABOUT,
        heading=("", "min", "median", "of generator", "round by round"),
        lines=tuple(lines(times, {PROD: GENERATED})),
        marks=(mark,),
        numbers={"seconds": times},
    )


def measure_unchanged(stage: Stage) -> Row:
    flow = prepare(stage)
    stage.run([TOOL, "prod", "--builder=registry", "--flow", flow.script], folder=flow.folder)
    calls = {
        PROD: prod(stage, flow),
        GENERATED: generator(stage, flow),
        DEV: tool(stage, flow, "dev", "--no-template"),
        PLAN: tool(stage, flow, "plan"),
    }
    ways = {name: same(call) for name, call in calls.items()}
    times = alternate(ways, stage.rounds)
    return Row(
        title="Nothing changed",
        about=UNCHANGED_ABOUT,
        heading=("", "min", "median", "of the next", "round by round"),
        lines=tuple(lines(times, {PROD: GENERATED, DEV: PLAN})),
        marks=(
            Mark(
                text=f"{PROD} takes the time of one call of the generator, times",
                value=ratio(times, PROD, GENERATED),
                limit=1.15,
            ),
            Mark(text=f"seconds of {DEV} beyond {PLAN}", value=beyond(times, DEV, PLAN), limit=1),
        ),
        numbers={"seconds": times},
    )


def prepare(stage: Stage) -> FlowFolder:
    """Make sure that the dev images are there."""
    flow = three_images(stage.folder / "flow")
    tool(stage, flow, "dev", "--no-template")()
    return flow


def prod(stage: Stage, flow: FlowFolder) -> Callable[[], object]:
    return tool(stage, flow, "prod", "--builder=registry")


def generator(stage: Stage, flow: FlowFolder) -> Callable[[], object]:
    return lambda: stage.run([sys.executable, *GENERATOR], folder=flow.folder)


def tool(stage: Stage, flow: FlowFolder, *arguments: str) -> Callable[[], object]:
    return lambda: stage.run([TOOL, *arguments, "--flow", flow.script], folder=flow.folder)


def changed(flow: FlowFolder, call: Callable[[], object]) -> Way:
    def prepare(stamp: str) -> Callable[[], object]:
        flow.change(stamp)
        return call

    return prepare


def same(call: Callable[[], object]) -> Way:
    return lambda _stamp: call


def lines(times: Times, against: dict[str, str]) -> list[tuple[str, ...]]:
    rows = []
    for way, seconds in times.items():
        cells = [way, f"{min(seconds):.2f} s", f"{statistics.median(seconds):.2f} s"]
        if other := against.get(way):
            cells += [f"{ratio(times, way, other):.2f}", spread(ratios(times, way, other))]
        rows.append((*cells, *[""] * (5 - len(cells))))
    return rows
