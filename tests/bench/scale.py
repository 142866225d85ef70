"""`prod` with many images: what each costs beyond the generator."""

import itertools
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from aicore_build.reference import TagReference, parse_reference
from tests.bench.bases import Base, push_base
from tests.bench.flows import GENERATOR, FlowFolder
from tests.bench.report import Mark, Row
from tests.bench.stage import Stage
from tests.bench.timing import Times, Way, alternate, beyond, note
from tests.workbench import TOOL

COUNTS = (3, 30, 100)
BASE_BYTES = 4_000_000
LINEAR = 1.25
"""1 and what two runs differ by."""

ABOUT = """\
Timed: `prod --builder registry` for a flow with so many steps, each with an image in a repository
of its own, and one call of the generator for the same flow; a changed flow each round. "Beyond" is
the median of the differences, round by round; "an image more" is its growth since the line before,
divided by the images that it is more."""


def measure(stage: Stage) -> Row:
    note(f"preparing: {max(COUNTS)} dev images")
    base = push_base(stage.client, f"{stage.registry}/bench/scale:v1", BASE_BYTES, stage.folder)
    names = [f"bench/scale-{number}:v1" for number in range(max(COUNTS))]
    copy_base(stage, base, names)
    ways: dict[str, Way] = {}
    for count in COUNTS:
        flow = FlowFolder(stage.folder / f"scale-{count}", names[:count]).write()
        ways[prod(count)] = way(
            stage, flow, [TOOL, "prod", "--builder=registry", "--flow", flow.script.name]
        )
        ways[generator(count)] = way(stage, flow, [sys.executable, *GENERATOR])
    times = alternate(ways, stage.rounds)
    return row(times)


def row(times: Times) -> Row:
    more = {count: beyond(times, prod(count), generator(count)) for count in COUNTS}
    growth = {
        after: (more[after] - more[before]) / (after - before) * 1000
        for before, after in itertools.pairwise(COUNTS)
    }
    few, middle, many = COUNTS
    an_image = (more[many] - more[few]) / (many - few) * 1000
    return Row(
        title="Many images",
        about=ABOUT,
        heading=("", "prod", "generator", "beyond", "an image more"),
        lines=tuple(
            (
                f"{count} images",
                f"{statistics.median(times[prod(count)]):.2f} s",
                f"{statistics.median(times[generator(count)]):.2f} s",
                f"{more[count]:.2f} s",
                f"{growth[count]:.1f} ms" if count in growth else "",
            )
            for count in COUNTS
        ),
        marks=(
            Mark(text=f"ms an image, from {few} to {many}", value=an_image, limit=30),
            Mark(
                text=f"the last of them take the time of the first, up to {middle}, times",
                value=growth[many] / growth[middle],
                limit=LINEAR,
            ),
        ),
        numbers={"seconds": times, "beyond": more, "ms_an_image": growth},
    )


def prod(count: int) -> str:
    return f"{count} images, prod"


def generator(count: int) -> str:
    return f"{count} images, generator"


def way(stage: Stage, flow: FlowFolder, command: Sequence[str | Path]) -> Way:
    def prepare(stamp: str) -> Callable[[], object]:
        flow.change(stamp)
        environment = {"REGISTRY": stage.registry}
        return lambda: stage.run(command, folder=flow.folder, environment=environment)

    return prepare


def copy_base(stage: Stage, base: Base, names: Sequence[str]) -> None:
    """Give the base image to other repositories of its registry, by mounts."""
    client = stage.client
    manifest = client.get_manifest(base.pinned)
    assert manifest
    document = manifest.parsed()
    for name in names:
        target = parse_reference(f"{stage.registry}/{name}")
        assert isinstance(target, TagReference)
        for blob in (document["config"], *document["layers"]):
            client.copy_blob(base.repository, target.repository, blob["digest"], blob["size"])
        client.put_manifest(target, manifest)
