"""What a command did: shown to people, or printed as JSON."""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aicore_build.errors import OutputError
from aicore_build.flow import Flow
from aicore_build.package import PackageAddress
from aicore_build.reference import Digest, DigestReference, ImageReference
from aicore_build.registry import Manifest

SCHEMA = 1
"""Of the JSON; counts up when a key is removed or changes its meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """An image of the flow, after `dev` or `prod`."""

    reference: ImageReference
    steps: tuple[str, ...]
    built: bool
    """False: it was in its registry already, and used as it is."""

    base_image: str | None
    """None where it was not built, or from a Dockerfile of the user's own."""

    digest: Digest | None
    """As the registry answered; None where nothing was pushed."""

    image_id: str | None = None
    """In the Docker Engine that built it; None where nothing was built."""

    manifest: Manifest | None = field(default=None, repr=False, compare=False)
    """As the registry gave it; None where it was not asked."""

    @property
    def pinned(self) -> DigestReference | None:
        """The reference with the digest; what the workflow template names."""
        if isinstance(self.reference, DigestReference):
            return self.reference
        return self.reference.pinned(self.digest) if self.digest else None

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "reference": str(self.reference),
            "steps": list(self.steps),
            "built": self.built,
            "base_image": self.base_image,
            "digest": self.digest,
            "pinned": str(self.pinned) if self.pinned else None,
            "image_id": self.image_id,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What `dev` or `prod` did."""

    command: Literal["dev", "prod"]
    flow: Flow
    images: tuple[BuiltImage, ...]
    package: PackageAddress | None
    workflow_template: Path | None
    lock: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """For `--json`; documented in docs/json.md."""
        template = self.workflow_template
        return {
            "schema": SCHEMA,
            "command": self.command,
            "flow": {"name": self.flow.name, "script": str(self.flow.script)},
            "images": [image.as_json() for image in self.images],
            "code_package": self.package
            and {"address": str(self.package), "sha1": self.package.sha1},
            "workflow_template": template
            and {
                "path": str(template),
                "sha256": hashlib.sha256(template.read_bytes()).hexdigest(),
            },
            "lock": self.lock and str(self.lock),
        }


def images_by_step(images: Iterable[BuiltImage]) -> dict[str, str]:
    """The pinned reference of each step's image."""
    return {step: str(image.pinned) for image in images for step in image.steps}


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all; one that has this text already is not touched.

    Raises:
        OutputError: it can't be written.
    """
    try:
        if path.is_file() and path.read_bytes() == text.encode():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path} can't be written: {error.strerror}.\n"
            "Name another file with --output, or mend the folder's permissions."
        ) from error
