"""What an image was made from, written into the image: how it is recognised as up to date.

It is a label, so that it is in the config, which Docker and the registry builder both write.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import IO, Any, Protocol, cast

from aicore_build.context import BuildContext
from aicore_build.layer import text_entry, write_tar
from aicore_build.reference import Digest, ImageReference, Repository, TagReference
from aicore_build.registry import Manifest

LABEL = "aicore-build.inputs"

LAYOUT = 1
"""Counts up when the same inputs make another image: a new Dockerfile template needs no count."""

Inputs = Mapping[str, Any]
"""By name, what an image is made from: texts, and lists and tables of them; nothing secret."""


def dev_inputs(
    context: BuildContext, requirements: tuple[str, ...], bases: Mapping[str, str], platform: str
) -> Inputs:
    """What a dev image is made from.

    Args:
        context: its build context.
        requirements: the libraries among it, to tell what changed.
        bases: by name, the digest of each base image, or its ID if it is no registry's.
        platform: it is built for.
    """
    return {
        "variant": "dev",
        "layout": LAYOUT,
        "platform": platform,
        "bases": dict(bases),
        "requirements": list(requirements),
        "context": context_digest(context),
    }


def prod_inputs(builder: str, base: str, package: str) -> Inputs:
    """What a prod image is made from.

    Args:
        builder: which makes it: their images hold the same, but have different digests.
        base: digest of the dev image, or its ID.
        package: sha1 of the code package.
    """
    return {
        "variant": "prod",
        "layout": LAYOUT,
        "builder": builder,
        "base": base,
        "package": package,
    }


def render_inputs(inputs: Inputs) -> str:
    """The label's value: equal inputs, equal text."""
    return json.dumps(inputs, sort_keys=True, separators=(",", ":"))


def context_digest(context: BuildContext) -> Digest:
    """The sha256 of a build context, without what the image doesn't hold."""
    sink = _Hash()
    with context.entries() as entries:
        kept = [entry for entry in entries if entry.name not in context.private_files]
        dockerfile = text_entry(context.dockerfile_name, context.dockerfile)
        write_tar(cast("IO[bytes]", sink), [*kept, dockerfile])
    return Digest(f"sha256:{sink.hash.hexdigest()}")


class Source(Protocol):
    """Where images are looked for: a registry, or a folder."""

    def get_manifest(self, reference: ImageReference) -> Manifest | None:
        """Fetch a manifest or index; None where there is no such image."""

    def get_document(self, repository: Repository, digest: Digest) -> dict[str, Any]:
        """Fetch a small JSON blob, such as a config."""


def find_up_to_date(source: Source, reference: TagReference, inputs: Inputs) -> Manifest | None:
    """Ask the registry for an image that was made from these inputs; None if it has no such one.

    An image that somebody else built on one of ours carries its label too: that one is told by
    the label not being the last thing that was done.

    Raises:
        RegistryError: the registry gave no answer, or refused one.
    """
    manifest = source.get_manifest(reference)
    if manifest is None or "config" not in (document := manifest.parsed()):
        return None
    config = source.get_document(reference.repository, Digest(document["config"]["digest"]))
    labels = config.get("config", {}).get("Labels") or {}
    history = config.get("history") or [{}]
    ours = "aicore-build" in history[-1].get("created_by", "")
    return manifest if ours and labels.get(LABEL) == render_inputs(inputs) else None


class _Hash:
    """What a tar is written to if only its hash is asked for."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self._position = 0

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position
