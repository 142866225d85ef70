"""Measure the tool in the sandbox, each row side by side in one run."""

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import by_hand, embed, memory, plot, scale, whole, wire
from tests.bench.report import Row, show, show_marks
from tests.bench.stage import Stage
from tests.bench.timing import note
from tests.integration.faults import RealRegistry
from tests.sandbox import Sandbox, SandboxError, start
from tests.sandbox.debian import find
from tests.workbench import Workbench

ROWS: dict[str, Callable[[Stage], Row]] = {
    "embed": embed.measure,
    "wire": wire.measure,
    "whole": whole.measure_changed,
    "unchanged": whole.measure_unchanged,
    "scale": scale.measure,
    "memory": memory.measure,
    "by-hand": by_hand.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each runs (5)")
    parser.add_argument(
        "--only", type=_rows, default=list(ROWS), metavar="ROW,…", help=", ".join(ROWS)
    )
    parser.add_argument("--sizes", type=_sizes, metavar="GB,…", help="of base images (0.25,1,4)")
    parser.add_argument("--quick", action="store_true", help="without what takes minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to a file")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the row embed")
    arguments = parser.parse_args()
    if arguments.plot and "embed" not in arguments.only:
        parser.error("--plot needs the row embed")
    sizes = arguments.sizes or ((0.25, 1.0) if arguments.quick else (0.25, 1.0, 4.0))
    try:
        sandbox = start()
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory(prefix="aicore-build-bench-") as name:
        folder = Path(name)
        with _registry(sandbox, folder) as registry:
            stage = Stage(
                workbench=Workbench(sandbox, folder, "bench"),
                registry=registry,
                folder=folder,
                rounds=arguments.rounds,
                sizes=sizes,
                quick=arguments.quick,
            )
            for row in arguments.only:
                note(f"── {row}")
                rows[row] = ROWS[row](stage)
                show(rows[row])
    show_marks([mark for row in rows.values() for mark in row.marks])
    print(f"\n{os.cpu_count()} cores; load {os.getloadavg()[0]:.1f} at the end.")
    if arguments.json:
        text = json.dumps(as_json(rows, arguments.rounds), indent=2)
        arguments.json.write_text(f"{text}\n", encoding="utf-8")
    if arguments.plot:
        arguments.plot.write_text(plot.draw(rows["embed"].numbers["medians"]), encoding="utf-8")
    return 0


@contextlib.contextmanager
def _registry(sandbox: Sandbox, folder: Path) -> Iterator[str]:
    """A registry whose gigabytes end with the benchmark; else the sandbox's."""
    if find("docker-registry") is None:
        yield sandbox.registry
        return
    with RealRegistry(folder / "registry") as registry:
        yield registry.address


def _rows(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        raise argparse.ArgumentTypeError(f"there is no row {', '.join(unknown)}")
    return names


def _sizes(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def as_json(rows: dict[str, Row], rounds: int) -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "rounds": rounds,
        "rows": {name: row.as_json() for name, row in rows.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
