"""Requests and bytes on the wire, counted by a proxy before the registry."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from aicore_build.reference import DigestReference, parse_reference
from aicore_build.registry import RegistryClient
from tests.bench.bases import Base, push_base
from tests.bench.embed import embed_command
from tests.bench.packages import write_package
from tests.bench.report import Mark, Row
from tests.bench.stage import Stage
from tests.integration.faults import FaultProxy, Seen

BASE_BYTES = 20_000_000
SAME, OTHER, SECOND = "same repository", "another repository", "two images"

ABOUT = """\
Counted by a proxy before the registry, heads included: a package of 1.2 MB embedded into a base
image in the repository of the base, in another repository of the registry, and into two images in
two repositories by one process. "Needed" is layer, configs and manifests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What one process sent and got."""

    seen: tuple[Seen, ...]

    needed: int
    """Bytes of what is new: each layer once, configs, manifests."""

    layer_uploads: int

    @property
    def up(self) -> int:
        return sum(one.bytes_up for one in self.seen)

    @property
    def down(self) -> int:
        return sum(one.bytes_down for one in self.seen)

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": [f"{one.method} {one.path} {one.status}" for one in self.seen],
            "bytes_up": self.up,
            "bytes_down": self.down,
            "bytes_needed": self.needed,
            "layer_uploads": self.layer_uploads,
        }


def measure(stage: Stage) -> Row:
    port = urlsplit(f"//{stage.registry}").port
    assert port
    with FaultProxy(port) as proxy:
        one, two = (
            push_base(
                stage.client, f"{proxy.address}/bench/wire-{name}:v1", BASE_BYTES, stage.folder
            )
            for name in ("one", "two")
        )
        elsewhere = f"{proxy.address}/bench/wire-elsewhere:v1-prod"
        traffic = {
            SAME: count(stage, proxy, [(one, f"{one.repository}:v1-prod")]),
            OTHER: count(stage, proxy, [(one, elsewhere)]),
            SECOND: count(stage, proxy, [(b, f"{b.repository}:v2-prod") for b in (one, two)]),
        }
    return Row(
        title="Requests and bytes on the wire",
        about=ABOUT,
        heading=("", "requests", "up", "needed", "up / needed", "down", "layer uploads"),
        lines=tuple(
            (
                name,
                str(len(found.seen)),
                f"{found.up:,} B",
                f"{found.needed:,} B",
                f"{found.up / found.needed:.4f}",
                f"{found.down:,} B",
                str(found.layer_uploads),
            )
            for name, found in traffic.items()
        ),
        marks=tuple(marks(traffic, one)),
        numbers={name: found.as_json() for name, found in traffic.items()},
    )


def count(stage: Stage, proxy: FaultProxy, images: list[tuple[Base, str]]) -> Traffic:
    package = write_package(stage.folder / "job.tar", " ".join(target for _, target in images))
    proxy.set()
    answer = json.loads(stage.run(embed_command("registry", package, *images)))
    seen = proxy.seen
    manifests, sizes = 0, {}
    for (_, target), digest in zip(images, answer["digests"], strict=True):
        pinned = DigestReference(repository=parse_reference(target).repository, digest=digest)
        manifest = read_manifest(stage.client, pinned)
        document = json.loads(manifest)
        manifests += len(manifest)
        sizes[document["config"]["digest"]] = document["config"]["size"]
        layer = document["layers"][-1]
        sizes[layer["digest"]] = layer["size"]
    uploads = [
        one for one in seen if one.method in {"PUT", "PATCH"} and one.bytes_up > layer["size"]
    ]
    return Traffic(seen=seen, needed=manifests + sum(sizes.values()), layer_uploads=len(uploads))


def read_manifest(client: RegistryClient, pinned: DigestReference) -> bytes:
    manifest = client.get_manifest(pinned)
    assert manifest, f"{pinned} was embedded, but is not there"
    return manifest.raw


def marks(traffic: dict[str, Traffic], base: Base) -> Iterator[Mark]:
    yield Mark(text=f"requests, {SAME}", value=len(traffic[SAME].seen), limit=8)
    text = f"requests, {OTHER}, {base.layers} base layers"
    yield Mark(text=text, value=len(traffic[OTHER].seen), limit=8 + 2 * base.layers)
    yield Mark(
        text="layer uploads for the second image",
        value=traffic[SECOND].layer_uploads - 1,
        limit=0,
    )
    for name, found in traffic.items():
        text = f"bytes up, of those needed, {name}"
        yield Mark(text=text, value=found.up / found.needed, limit=1.02)
