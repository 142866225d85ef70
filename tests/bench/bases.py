"""Base images of random data, put into a registry without an engine."""

import hashlib
import json
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, cast

from aicore_build.reference import (
    Digest,
    DigestReference,
    Repository,
    TagReference,
    parse_reference,
)
from aicore_build.registry import DOCKER_MANIFEST, Blob, Manifest, RegistryClient, bytes_blob
from tests.bench.packages import Random

LARGEST_LAYER = 256_000_000
FEWEST_LAYERS = 4
FILES_A_LAYER = 8

CONFIG = {
    "architecture": "amd64",
    "os": "linux",
    "created": "2020-01-01T00:00:00Z",
    "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "WorkingDir": "/"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A dev image to embed into."""

    pinned: DigestReference

    size: int
    """Bytes of its layers, compressed: random data doesn't get smaller."""

    layers: int

    @property
    def repository(self) -> Repository:
        return self.pinned.repository


def push_base(client: RegistryClient, name: str, size: int, folder: Path) -> Base:
    """Make an image of random data in layers and push it; no two have a layer in common.

    Its layers are stored, not deflated: that is what an engine unpacks fastest.

    Args:
        client: pushes it.
        name: its reference, with a tag.
        size: of its layers together, in bytes.
        folder: for a layer at a time.
    """
    reference = parse_reference(name)
    assert isinstance(reference, TagReference)
    count = max(FEWEST_LAYERS, -(-size // LARGEST_LAYER))
    layers = [
        _push_layer(client, reference.repository, n, size // count, folder) for n in range(count)
    ]
    config: dict[str, Any] = {
        **CONFIG,
        "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
        "history": [{"created": CONFIG["created"], "created_by": "random"} for _ in layers],
    }
    blob = bytes_blob(json.dumps(config).encode())
    client.upload(reference.repository, blob)
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": blob.size,
            "digest": blob.digest,
        },
        "layers": [descriptor for descriptor, _ in layers],
    }
    manifest = Manifest(raw=json.dumps(document).encode(), media_type=DOCKER_MANIFEST)
    client.put_manifest(reference, manifest)
    return Base(
        pinned=DigestReference(repository=reference.repository, digest=manifest.digest),
        size=sum(descriptor["size"] for descriptor, _ in layers),
        layers=count,
    )


def _push_layer(
    client: RegistryClient, repository: Repository, number: int, size: int, folder: Path
) -> tuple[dict[str, Any], Digest]:
    """Make and push one; return its descriptor and its diff ID."""
    path = folder / "layer"
    with Stored(path) as stored, tarfile.open(fileobj=stored.file, mode="w|") as tar:
        for file in range(FILES_A_LAYER):
            info = tarfile.TarInfo(f"random/{number}/{file}")
            info.size = size // FILES_A_LAYER
            tar.addfile(info, Random(info.size))
    digest, diff_id = stored.digests
    blob = Blob(digest=digest, size=path.stat().st_size, open=lambda: path.open("rb"))
    client.upload(repository, blob)
    path.unlink()
    return {
        "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "size": blob.size,
        "digest": digest,
    }, diff_id


class Stored:
    """A gzip file that is not deflated, and the digests of both sides of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._plain = hashlib.sha256()
        self._packed = hashlib.sha256()
        self._stored = zlib.compressobj(0, wbits=31)

    def __enter__(self) -> Self:
        self._out = self._path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._write(self._stored.flush())
        self._out.close()

    @property
    def file(self) -> IO[bytes]:
        """For `tarfile`, which only writes to it."""
        return cast("IO[bytes]", self)

    def write(self, data: bytes) -> int:
        self._plain.update(data)
        self._write(self._stored.compress(data))
        return len(data)

    def _write(self, data: bytes) -> None:
        self._packed.update(data)
        self._out.write(data)

    @property
    def digests(self) -> tuple[Digest, Digest]:
        """Of the file, and of what it holds."""
        hashes = (self._packed, self._plain)
        packed, plain = (Digest(f"sha256:{one.hexdigest()}") for one in hashes)
        return packed, plain
