"""Embed a package into images, as `prod` does after the generator, in a process of its own.

So its start and its imports count. Prints what it made, and its peak memory, as JSON.
"""

import argparse
import json
import sys
from pathlib import Path

from aicore_build.builders import Builder, Embedding, Made
from aicore_build.parallel import in_parallel
from aicore_build.progress import PlainReporter
from aicore_build.record import prod_inputs
from aicore_build.reference import DigestReference, TagReference, parse_reference
from aicore_build.registry import RegistryClient
from aicore_build.result import BuiltImage

PLATFORM = "linux/amd64"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.embed_once", description=__doc__)
    parser.add_argument("--builder", choices=("docker", "registry"), required=True)
    parser.add_argument("--package", type=Path, help="job.tar; without it, only import everything")
    parser.add_argument(
        "--image", action="append", default=[], nargs=2, metavar=("BASE", "TARGET"), help="by turns"
    )
    arguments = parser.parse_args()
    embed = embed_by_docker if arguments.builder == "docker" else embed_by_registry
    embeddings = [
        embedding(base, target, arguments.package, arguments.builder)
        for base, target in arguments.image
    ]
    made = embed(embeddings)
    answer = {"digests": [one.digest for one in made], "peak_bytes": peak_bytes()}
    print(json.dumps(answer))
    return 0


def embedding(base: str, target: str, package: Path, builder: str) -> Embedding:
    pinned, reference = parse_reference(base), parse_reference(target)
    assert isinstance(pinned, DigestReference)
    assert isinstance(reference, TagReference)
    return Embedding(
        base=BuiltImage(
            reference=pinned, steps=(), built=False, base_image=None, digest=pinned.digest
        ),
        target=reference,
        package=package,
        inputs=prod_inputs(builder, pinned.digest, package.name),
    )


def embed_by_registry(embeddings: list[Embedding]) -> list[Made]:
    import deflate  # noqa: F401, PLC0415 - so that an idle process has it too

    from aicore_build.builders.registry import RegistryBuilder  # noqa: PLC0415

    with RegistryBuilder(
        RegistryClient(),
        PlainReporter(verbose=False),
        platform=PLATFORM,
        created="2020-01-01T00:00:00Z",
        revision=None,
        sessions={},
    ) as builder:
        return embed_all(builder, embeddings)


def embed_by_docker(embeddings: list[Embedding]) -> list[Made]:
    from aicore_build.builders.docker import DockerBuilder  # noqa: PLC0415
    from aicore_build.settings import Settings  # noqa: PLC0415

    settings = Settings(platform=PLATFORM, build_network="host")
    reporter = PlainReporter(verbose=False)
    return embed_all(DockerBuilder(settings, RegistryClient(), reporter, push=True), embeddings)


def embed_all(builder: Builder, embeddings: list[Embedding]) -> list[Made]:
    return in_parallel(builder.embed, embeddings, 4)


def peak_bytes() -> int:
    """Of this process alone: `getrusage` begins with the memory of the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())
