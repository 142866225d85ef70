"""Embedding alone: in the registry, by docker-py, by BuildKit; by the size of the base image."""

import contextlib
import shutil
import statistics
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aicore_build.context import prod_context
from aicore_build.dockerfile import PACKAGE_HOME
from aicore_build.layer import write_tar
from tests.bench.bases import Base, push_base
from tests.bench.engine import Engine
from tests.bench.packages import write_package
from tests.bench.report import Mark, Row
from tests.bench.stage import Stage
from tests.bench.timing import Times, Way, alternate, note, ratio, ratios, spread

DOCKER = shutil.which("docker", path="/usr/bin") or "docker"
ABSENT_ROUNDS = 3
"""At most: with a large base each takes most of a minute."""

REGISTRY = "registry"
PRESENT = "docker-py, base present"
ABSENT = "docker-py, base absent"
BUILDKIT = "BuildKit, base present"

ABOUT = f"""\
Timed, from a checked code package (325 files of Metaflow, 1.2 MB) and a dev image's digest to a
prod image in the registry, as processes from their start to their end:

{REGISTRY:<24}the tool's builder `registry`.
{PRESENT:<24}the tool's builder `docker`: build, push, ask the registry for the digest.
{ABSENT:<24}the same, with neither the base image nor its layers in the engine.
{BUILDKIT:<24}the same Dockerfile from a folder with the extracted package: `docker build`
                        with DOCKER_BUILDKIT=1, then `docker push`. The CLI is {DOCKER}.

Bases are random data in layers that nothing else has. Builds use the host's network, which is
faster than a bridge. The registry and the engine are on this machine: no network is in between.
Each run has a package of its own. In each block, ways and sizes take turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    stage: Stage
    engine: Engine
    bases: Mapping[float, Base]
    """By their size in GB."""

    def absent(self) -> Times:
        ways = self._for_each_size({REGISTRY: self._registry, ABSENT: self._docker_absent})
        return alternate(ways, min(self.stage.rounds, ABSENT_ROUNDS))

    def present(self) -> Times:
        ways = {
            REGISTRY: self._registry,
            PRESENT: self._docker_present,
            BUILDKIT: self._buildkit,
        }
        return alternate(self._for_each_size(ways), self.stage.rounds)

    def alone(self) -> Times:
        """The registry builder only, more often, to see whether the base's size matters."""
        return alternate(self._for_each_size({REGISTRY: self._registry}), 3 * self.stage.rounds)

    def _for_each_size(self, ways: Mapping[str, Callable[[Base], Way]]) -> dict[str, Way]:
        return {
            key(way, size): make(base)
            for size, base in self.bases.items()
            for way, make in ways.items()
        }

    def _registry(self, base: Base) -> Way:
        return lambda stamp: self._embed("registry", base, stamp)

    def _docker_present(self, base: Base) -> Way:
        def prepare(stamp: str) -> Callable[[], object]:
            self._fetch(base)
            return self._embed("docker", base, stamp)

        return prepare

    def _docker_absent(self, base: Base) -> Way:
        def prepare(stamp: str) -> Callable[[], object]:
            self.engine.forget(base)
            return self._embed("docker", base, stamp)

        return prepare

    def _buildkit(self, base: Base) -> Way:
        def prepare(stamp: str) -> Callable[[], object]:
            self._fetch(base)
            context = self._context(base, stamp)
            target = f"{base.repository}:v1-prod-{stamp}"
            build = [DOCKER, "build", "--network=host", "--tag", target, str(context)]

            def run() -> None:
                self.stage.run(build, environment={"DOCKER_BUILDKIT": "1"})
                if "Pushed" not in self.stage.run([DOCKER, "push", target]):
                    raise SystemExit("BuildKit found an older package in its cache.")

            return run

        return prepare

    def _embed(self, builder: str, base: Base, stamp: str) -> Callable[[], object]:
        package = write_package(self.stage.folder / "job.tar", stamp)
        command = embed_command(builder, package, (base, f"{base.repository}:v1-prod-{stamp}"))
        return lambda: self.stage.run(command)

    def _fetch(self, base: Base) -> None:
        if not self.engine.has(base):
            self.stage.run([DOCKER, "pull", "--quiet", str(base.pinned)])

    def _context(self, base: Base, stamp: str) -> Path:
        """The build context that the tool would send, as a folder."""
        package = write_package(self.stage.folder / "job.tar", stamp)
        folder = self.stage.folder / "context"
        shutil.rmtree(folder, ignore_errors=True)
        context = prod_context(str(base.pinned), package)
        with context.entries() as entries, (self.stage.folder / "context.tar").open("w+b") as file:
            write_tar(file, entries)
            file.seek(0)
            with tarfile.open(fileobj=file) as tar:
                tar.extractall(folder, filter="data")
        (folder / PACKAGE_HOME / "flow.py").touch()  # BuildKit goes by time and size
        (folder / context.dockerfile_name).write_text(context.dockerfile, encoding="utf-8")
        return folder


def key(way: str, size: float) -> str:
    return f"{size:g} GB, {way}"


def embed_command(builder: str, package: Path, *images: tuple[Base, str]) -> list[str]:
    """Of the process that embeds a package into images, each a base and a target."""
    command = [sys.executable, "-m", "tests.bench.embed_once"]
    command += ["--builder", builder, "--package", str(package)]
    for base, target in images:
        command += ["--image", str(base.pinned), target]
    return command


def measure(stage: Stage) -> Row:
    with contextlib.closing(stage.workbench.engine()) as client:
        engine = Engine(client)
        kept = engine.build_cache()
        with pushed(stage) as bases:
            contest = Contest(stage=stage, engine=engine, bases=bases)
            try:
                absent, present, alone = contest.absent(), contest.present(), contest.alone()
            finally:
                engine.prune(kept)
                for base in bases.values():
                    engine.forget(base)
    return row(stage.sizes, absent, present, alone)


@contextlib.contextmanager
def pushed(stage: Stage) -> Iterator[dict[float, Base]]:
    bases = {}
    for size in stage.sizes:
        note(f"preparing: a base image of {size:g} GB")
        name = f"{stage.registry}/bench/base-{size:g}gb:v1"
        bases[size] = push_base(stage.client, name, round(size * 1e9), stage.folder)
    yield bases


def row(sizes: tuple[float, ...], absent: Times, present: Times, alone: Times) -> Row:
    lines = []
    for size in sizes:
        for way, times in (
            (REGISTRY, present),
            (BUILDKIT, present),
            (PRESENT, present),
            (ABSENT, absent),
        ):
            one, ours = key(way, size), key(REGISTRY, size)
            cells = [one, *(f"{f(times[one]):.2f} s" for f in (min, statistics.median))]
            if way != REGISTRY:
                cells += [f"{ratio(times, one, ours):.1f}", spread(ratios(times, one, ours), 1)]
            lines.append((*cells, *[""] * (5 - len(cells))))
    return Row(
        title="Embedding alone, by the size of the base image",
        about=ABOUT,
        heading=("", "min", "median", "of registry", "round by round"),
        lines=tuple(lines),
        marks=tuple(marks(sizes, absent, present, alone)),
        numbers={
            "sizes_gb": sizes,
            "medians": medians(sizes, absent, present),
            "seconds": {"absent": absent, "present": present, "alone": alone},
        },
    )


def medians(sizes: tuple[float, ...], absent: Times, present: Times) -> dict[str, Any]:
    """Seconds by way and size, for the plot."""
    ways = {REGISTRY: present, BUILDKIT: present, PRESENT: present, ABSENT: absent}
    return {
        way: {f"{size:g}": statistics.median(times[key(way, size)]) for size in sizes}
        for way, times in ways.items()
    }


def marks(sizes: tuple[float, ...], absent: Times, present: Times, alone: Times) -> Iterator[Mark]:
    small, large = key(REGISTRY, min(sizes)), key(REGISTRY, max(sizes))
    if small != large:
        text = f"a base of {max(sizes):g} GB takes the time of one of {min(sizes):g} GB, times"
        yield Mark(text=text, value=ratio(alone, large, small), limit=1.2)
    for size in sizes:
        ours = key(REGISTRY, size)
        faster = ((PRESENT, 10.0), (BUILDKIT, 3.5))
        for way, limit in faster:
            value = ratio(present, key(way, size), ours)
            text = f"times faster than {way}, {size:g} GB"
            yield Mark(text=text, value=value, limit=limit, at_least=True)
    if max(sizes) >= 4:
        value = ratio(absent, key(ABSENT, max(sizes)), key(REGISTRY, max(sizes)))
        text = f"times faster than {ABSENT}, {max(sizes):g} GB"
        yield Mark(text=text, value=value, limit=180, at_least=True)
