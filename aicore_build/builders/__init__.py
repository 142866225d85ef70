"""Ways to embed a code package into an image, and to put the result into its registry."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aicore_build.changes import Inputs
from aicore_build.reference import Digest, TagReference
from aicore_build.result import BuiltImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """A prod image to make."""

    base: BuiltImage
    """The dev image."""

    target: TagReference

    package: Path
    """The code package's file, checked."""

    inputs: Inputs
    """What the image records of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Where an image is, after it was made."""

    digest: Digest | None
    """As the registry has it; None where it was not pushed."""

    image_id: str | None
    """In the Docker Engine; None where there was none."""


class Builder(Protocol):
    """Makes prod images; called from several threads."""

    def embed(self, embedding: Embedding) -> Made:
        """Make one."""
