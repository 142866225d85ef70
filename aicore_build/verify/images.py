"""The images of a workflow template, in the Docker Engine: each by its digest."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aicore_build import engine
from aicore_build.engine import Event, connected, said
from aicore_build.errors import VerifyError
from aicore_build.progress import Reporter
from aicore_build.record import LABEL
from aicore_build.reference import (
    DigestReference,
    ImageReference,
    TagReference,
    parse_reference,
)
from aicore_build.registry import RegistryClient
from aicore_build.verify.argo import Step, Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image of the workflow template, in the Docker Engine."""

    reference: str
    """As the workflow template names it."""

    steps: tuple[Step, ...]
    id: str
    platform: str
    size: int
    """Bytes."""

    config: Mapping[str, Any]
    labels: Mapping[str, str]

    @property
    def package(self) -> str | None:
        """The sha1 of the code package that it records; None where it records none."""
        try:
            inputs = json.loads(self.labels.get(LABEL, ""))
        except ValueError:
            return None
        if not isinstance(inputs, dict) or inputs.get("variant") != "prod":
            return None
        return inputs.get("package")

    @property
    def writable(self) -> tuple[str, ...]:
        """The folders that it declares writable, none of them below another."""
        variables = dict(v.partition("=")[::2] for v in self.config.get("Env") or ())
        declared = {
            str(self.config.get("WorkingDir") or "/"),
            variables.get("HOME", "/"),
            "/tmp",  # noqa: S108 - the image's
            *(self.config.get("Volumes") or ()),
        }
        folders = sorted({f.rstrip("/") for f in declared if f.startswith("/")} - {""})
        return tuple(f for f in folders if not any(f.startswith(f"{g}/") for g in folders))


def fetch_images(
    workflow: Workflow, client: RegistryClient, platform: str, reporter: Reporter
) -> tuple[Image, ...]:
    """Have all images in the engine, in the order of the steps.

    Raises:
        VerifyError: a registry hasn't one of them.
        RegistryError, EngineError: one of the two gave no answer.
    """
    steps: dict[str, list[Step]] = {}
    for step in workflow.steps:
        steps.setdefault(step.image, []).append(step)
    return tuple(
        _fetch(reference, tuple(of_it), client, platform, reporter)
        for reference, of_it in steps.items()
    )


def _fetch(
    text: str, steps: tuple[Step, ...], client: RegistryClient, platform: str, reporter: Reporter
) -> Image:
    reference = parse_reference(text)
    if isinstance(reference, TagReference):
        digest = client.find(reference)
        if digest is None:
            raise _missing(reference)
        reference = reference.pinned(digest)
        reporter.note(f"{text} is no digest, and may be another image tomorrow; it is {digest}.")
    found = _find(reference)
    if found is None:
        reporter.phase(text, "pulling")
        found = _pull(reference, client, platform)
    config = found.get("Config") or {}
    return Image(
        reference=text,
        steps=steps,
        id=found["Id"],
        platform=f"{found['Os']}/{found['Architecture']}",
        size=found["Size"],
        config=config,
        labels=config.get("Labels") or {},
    )


def _by_digest(reference: DigestReference) -> str:
    """Without the tag: the engine would take that."""
    return f"{reference.repository}@{reference.digest}"


def _find(reference: DigestReference) -> Event | None:
    with connected("answer") as docker:
        return engine.find_image(docker, _by_digest(reference))


def _pull(reference: DigestReference, client: RegistryClient, platform: str) -> Event:
    with connected("transfer") as docker:
        try:
            engine.pull(docker, reference, platform)
        except engine.Refused as error:
            if client.find(reference) is None:
                raise _missing(reference) from error
            raise VerifyError(
                f"The image {reference} can't be pulled: {said(error)}.\n"
                f"Check that it is for {platform}, and `docker login {reference.repository.host}`."
            ) from error
        found = engine.find_image(docker, _by_digest(reference))
    if found is None:
        raise VerifyError(f"The Docker Engine has not got {reference}, which it says it pulled.")
    return found


def _missing(reference: ImageReference) -> VerifyError:
    return VerifyError(
        f"The image {reference} is not in its registry.\n"
        "Push it again (`aicore-build prod`), or mend the workflow template."
    )
