"""What an image was made from, written into the image: how it is recognised as up to date.

It is a label, so that it is in the config, which Docker and the registry builder both write.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Protocol, cast

from aicore_build.changes import Change, Input, Inputs, compare_inputs, library_name
from aicore_build.context import BuildContext
from aicore_build.layer import text_entry, write_tar
from aicore_build.plan import Environment
from aicore_build.reference import Digest, ImageReference, Repository, TagReference
from aicore_build.registry import Manifest, digest_of

LABEL = "aicore-build.inputs"

LAYOUT = 2
"""Counts up when the same inputs make another image: a new Dockerfile template needs no count."""

_LONGEST_LINE = 60
_LONGEST = 2048
"""Bytes of the label: containerd takes no more than 4096 for a label and its name."""


def dev_inputs(
    context: BuildContext, environment: Environment, bases: Mapping[str, str], platform: str
) -> Inputs:
    """What a dev image is made from.

    All of it is in the digest of the context, but for bases and platform; the rest is there to
    tell what changed. What makes the label too long is there as a digest.

    Args:
        context: its build context.
        environment: what the context was made of.
        bases: by name, the digest of each base image, or its ID if it is no registry's.
        platform: it is built for.
    """
    inputs: dict[str, Any] = {
        "variant": "dev",
        "layout": LAYOUT,
        "platform": platform,
        "bases": dict(bases),
        "requirements": [_shorten(line) for line in environment.requirements],
        "apt": list(environment.apt_packages),
        "dockerfile": digest_of(context.dockerfile.encode()),
        "context": context_digest(context),
    }
    for key in ("requirements", "apt", "bases"):
        if len(render_inputs(inputs).encode()) > _LONGEST:
            inputs[key] = digest_of(render_inputs({key: inputs[key]}).encode())
    return inputs


def _shorten(line: str) -> str:
    """A requirement, or if it is long, such as with hashes, its name and a hash of ours."""
    if len(line) <= _LONGEST_LINE:
        return line
    digest = hashlib.sha256(line.encode()).hexdigest()[:16]
    return f"{library_name(line)[:_LONGEST_LINE]} ({digest})"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An image, and what it says that it was made from."""

    manifest: Manifest
    label: str | None
    """None where it has none of its own."""

    def inputs(self) -> Inputs | None:
        """What it was made from; None where it doesn't say, or not in a way that we know."""
        try:
            document = json.loads(self.label or "")
        except ValueError:
            return None
        return document if isinstance(document, dict) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An image against what it would be made from now."""

    up_to_date: Manifest | None
    """The image, where nothing differs."""

    is_there: bool
    changes: tuple[Change, ...]
    """What differs; none where it is up to date."""


def find_record(source: Source, reference: ImageReference) -> Found | None:
    """Ask the registry for an image and its record; None where there is no such image.

    An image that somebody else built on one of ours carries its label too: that one is told by
    the label not being the last thing that was done.

    Raises:
        RegistryError: the registry gave no answer, or refused one.
    """
    manifest = source.get_manifest(reference)
    if manifest is None:
        return None
    if "config" not in (document := manifest.parsed()):
        return Found(manifest=manifest, label=None)
    config = source.get_document(reference.repository, Digest(document["config"]["digest"]))
    labels = config.get("config", {}).get("Labels") or {}
    history = config.get("history") or [{}]
    ours = "aicore-build" in history[-1].get("created_by", "")
    return Found(manifest=manifest, label=labels.get(LABEL) if ours else None)


def compare(source: Source, reference: TagReference, inputs: Inputs) -> Comparison:
    """Ask the registry for an image, and compare what it was made from.

    Raises:
        RegistryError: the registry gave no answer, or refused one.
    """
    found = find_record(source, reference)
    if found and found.label == render_inputs(inputs):
        return Comparison(up_to_date=found.manifest, is_there=True, changes=())
    return Comparison(
        up_to_date=None, is_there=found is not None, changes=changes_since(found, inputs)
    )


def changes_since(found: Found | None, inputs: Inputs) -> tuple[Change, ...]:
    """What differs between an image and what it would be made from now."""
    if found is None:
        return (Change(input=Input.IMAGE, note="its registry has none yet"),)
    old = found.inputs()
    if old is None:
        return (Change(input=Input.IMAGE, note="what is there, aicore-build has not made"),)
    note = "it is recorded in another way"
    return compare_inputs(old, inputs) or (Change(input=Input.RECORD, note=note),)


def find_up_to_date(source: Source, reference: TagReference, inputs: Inputs) -> Manifest | None:
    """Ask the registry for an image that was made from these inputs; None if it has no such one.

    Raises:
        RegistryError: the registry gave no answer, or refused one.
    """
    return compare(source, reference, inputs).up_to_date


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
