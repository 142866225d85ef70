"""`aicore-build check-lock`: is what was locked still there, and unchanged?"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aicore_build.errors import LockError
from aicore_build.lock import Lock, file_sha256, read_lock
from aicore_build.parallel import in_parallel
from aicore_build.reference import Digest, DigestReference, TagReference
from aicore_build.registry import RegistryClient
from aicore_build.run import make_client
from aicore_build.settings import Settings
from aicore_build.workflow import container_templates, template_name

Variant = Literal["prod", "dev"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedImage:
    """A locked image, and what its registry has."""

    variant: Variant
    reference: DigestReference

    there: bool
    """Under its digest."""

    tag_digest: Digest | None
    """What its tag points to; None where that is nothing, or it was locked without a tag."""

    @property
    def moved(self) -> bool:
        """Whether its tag points elsewhere now."""
        return self.reference.tag is not None and self.tag_digest != self.reference.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class LockCheck:
    """What was found out about a lock."""

    path: Path
    lock: Lock
    images: tuple[CheckedImage, ...]
    template: Path
    template_sha256: str | None
    """As it is on the disk; None where it isn't."""

    named: dict[str, str | None] | None
    """The image of each container of that file, by template; None if it can't be read."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What changed, but changes nothing about what runs."""
        return tuple(
            f"{image.reference.repository}:{image.reference.tag} points to "
            f"{image.tag_digest or 'nothing'} now, no longer to {image.reference.digest}."
            for image in self.images
            if image.moved
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """What has to be mended, and how."""
        advice = {
            "prod": "Make it again with `aicore-build prod`, or restore it in the registry.",
            "dev": "What runs doesn't need it, but making the prod image again does: restore it in "
            "the registry, or build another one with `aicore-build dev` and run "
            "`aicore-build prod`.",
        }
        missing = [
            f"The {image.variant} image {image.reference} is not in its registry any more.\n"
            f"{advice[image.variant]}"
            for image in self.images
            if not image.there
        ]
        return (*missing, *self._template_problems())

    def _template_problems(self) -> list[str]:
        restore = "Restore it, or let `aicore-build prod` write it and its lock anew."
        if self.template_sha256 is None:
            return [f"The workflow template {self.template} is not there.\n{restore}"]
        problems = []
        if self.template_sha256 != self.lock.template_sha256:
            problems.append(
                f"The workflow template {self.template} is not the one that was locked: its sha256 "
                f"is {self.template_sha256}, locked is {self.lock.template_sha256}.\n"
                "It was changed afterwards, or `prod` was stopped before it wrote the lock. "
                + restore
            )
        if self.named != (locked := _locked_images(self.lock)):
            named = self.named or {}
            lines = [
                f"  {name}: {locked.get(name)} → {named.get(name)}"
                for name in {**locked, **named}
                if locked.get(name) != named.get(name)
            ]
            problems.append(
                f"The workflow template {self.template} doesn't name the locked images:\n"
                + "\n".join([*lines, restore])
            )
        return problems

    def as_json(self) -> dict[str, Any]:
        """For `--json`; documented in docs/json.md."""
        return {
            "schema": 1,
            "command": "check-lock",
            "lock": str(self.path),
            "ok": not self.problems,
            "images": [
                {
                    "variant": image.variant,
                    "pinned": str(image.reference),
                    "there": image.there,
                    "tag": image.reference.tag,
                    "tag_digest": image.tag_digest,
                }
                for image in self.images
            ],
            "workflow_template": {
                "path": str(self.template),
                "sha256": self.template_sha256,
                "locked_sha256": self.lock.template_sha256,
                "names_locked_images": self.named == _locked_images(self.lock),
            },
            "problems": list(self.problems),
            "warnings": list(self.warnings),
        }

    def refuse_problems(self) -> None:
        """Refuse a lock with problems.

        Raises:
            LockError: there are some; names all of them.
        """
        if problems := self.problems:
            raise LockError(
                f"{self.path} locks what is not there, or not the same any more.\n"
                + "\n".join(problems)
            )


def check_lock(path: Path, settings: Settings) -> LockCheck:
    """Ask the registries for all that is locked, and look at the workflow template.

    Raises:
        LockError: there is no lock, or none that can be read.
        RegistryError: a registry gave no answer, or refused one.
    """
    path = path.resolve()
    lock = read_lock(path)
    client = make_client(settings)

    def ask(wanted: tuple[Variant, DigestReference]) -> CheckedImage:
        return _ask(client, *wanted)

    template = path.with_name(lock.template)
    return LockCheck(
        path=path,
        lock=lock,
        images=tuple(in_parallel(ask, _references(lock), settings.jobs)),
        template=template,
        template_sha256=file_sha256(template),
        named=_named_images(template),
    )


def _references(lock: Lock) -> Iterator[tuple[Variant, DigestReference]]:
    for image in lock.images:
        if image.image:
            yield "prod", image.image
        if image.base:
            yield "dev", image.base


def _ask(client: RegistryClient, variant: Variant, reference: DigestReference) -> CheckedImage:
    tag_digest = None
    if reference.tag:
        tag_digest = client.find(TagReference(repository=reference.repository, tag=reference.tag))
    there = tag_digest == reference.digest or client.find(reference) is not None
    return CheckedImage(variant=variant, reference=reference, there=there, tag_digest=tag_digest)


def _locked_images(lock: Lock) -> dict[str, str]:
    return {template_name(step): str(image.image) for image in lock.images for step in image.steps}


def _named_images(template: Path) -> dict[str, str | None] | None:
    try:
        document = json.loads(template.read_bytes())
        return {
            t["name"].lower(): t["container"].get("image") for t in container_templates(document)
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
