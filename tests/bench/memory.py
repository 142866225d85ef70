"""Peak memory of embedding, by the size of the package."""

import json
import sys

from tests.bench.bases import push_base
from tests.bench.embed import embed_command
from tests.bench.packages import write_random_package
from tests.bench.report import Mark, Row
from tests.bench.stage import Stage
from tests.bench.timing import note

MB = 1_000_000
SIZES = (1 * MB, 2000 * MB)
QUICK_SIZES = (1 * MB, 250 * MB)
BASE_BYTES = 4 * MB
LIMIT = 60

ABOUT = """\
Peak memory (Linux's VmHWM) of a process that embeds a package of random data with the builder
`registry`, and of one that imports the same modules and does nothing."""


def measure(stage: Stage) -> Row:
    name = f"{stage.registry}/bench/memory:v1"
    base = push_base(stage.client, name, BASE_BYTES, stage.folder)
    idle = [sys.executable, "-m", "tests.bench.embed_once", "--builder=registry"]
    peaks = {"idle": peak(stage, idle)}
    for size in QUICK_SIZES if stage.quick else SIZES:
        note(f"preparing: a package of {size // MB} MB")
        package = write_random_package(stage.folder / "random.tar", size)
        command = embed_command("registry", package, (base, f"{base.repository}:v1-{size}"))
        peaks[f"{size // MB} MB"] = peak(stage, command)
        package.unlink()
    return Row(
        title="Peak memory of embedding, by the size of the package",
        about=ABOUT,
        heading=("", "peak", "over idle"),
        lines=tuple(
            (name, f"{value / MB:.1f} MB", f"{(value - peaks['idle']) / MB:.1f} MB")
            for name, value in peaks.items()
        ),
        marks=tuple(
            Mark(text=f"MB over idle, {name}", value=(value - peaks["idle"]) / MB, limit=LIMIT)
            for name, value in peaks.items()
            if name != "idle"
        ),
        numbers={"peak_bytes": peaks},
    )


def peak(stage: Stage, command: list[str]) -> int:
    return int(json.loads(stage.run(command))["peak_bytes"])
