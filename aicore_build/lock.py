"""The lock: what `prod` made, and from what, in a file beside the workflow template."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aicore_build import __version__
from aicore_build.errors import FlowError, LockError
from aicore_build.flow import Flow
from aicore_build.generators import Generated
from aicore_build.reference import DigestReference, parse_reference
from aicore_build.result import BuiltImage, write_whole
from aicore_build.settings import Settings

SCHEMA = 1
"""Of the file; counts up when a key is removed or changes its meaning."""

_EMPTY_LIST: Mapping[str, Any] = {"apiVersion": "v1", "kind": "List", "items": []}
"""What Kubernetes takes the lock for: AI Core syncs folders with Argo CD, which fails for all of a
folder at a .json file that is no object: https://github.com/argoproj/argo-cd/issues/11001."""

_ABSENT = "none"
_NOT_THERE = "none in its registry that is made from what is here now"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedImage:
    """A prod image, and what it was made from."""

    steps: tuple[str, ...]

    image: DigestReference | None
    """None where its registry has none, made from what is here now: that is never written."""

    base: DigestReference | None
    """The dev image, likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """What one run of `prod` made; says nothing of when, or where on the disk."""

    flow: str
    script: str
    """The file's name."""

    images: tuple[LockedImage, ...]
    package_sha1: str
    package_sha256: str
    generator: str
    generator_version: str
    metaflow: str
    python: str
    """The version of the flow's."""

    tool: str
    """Our version."""

    template: str
    """Name of the workflow template's file, which is in the same folder."""

    template_sha256: str | None
    """Of that file; None where an image that it would name isn't there."""

    def as_json(self) -> dict[str, Any]:
        """As it is written; documented in docs/lock.md."""
        return {
            **_EMPTY_LIST,
            "schema": SCHEMA,
            "flow": {"name": self.flow, "script": self.script},
            "steps": {step: str(image.image) for image in self.images for step in image.steps},
            "images": [
                {**_split(image.image), "base": _split(image.base)} for image in self.images
            ],
            "code_package": {"sha1": self.package_sha1, "sha256": self.package_sha256},
            "generator": {"name": self.generator, "version": self.generator_version},
            "metaflow": self.metaflow,
            "python": self.python,
            "aicore_build": self.tool,
            "workflow_template": {"file": self.template, "sha256": self.template_sha256},
        }

    def facts(self) -> dict[str, str]:
        """All that it says, by a name for people."""
        images = {}
        for image in self.images:
            steps = ", ".join(image.steps)
            images[f"dev image of {steps}"] = str(image.base or _NOT_THERE)
            images[f"prod image of {steps}"] = str(image.image or _NOT_THERE)
        return {
            "flow": self.flow,
            "script": self.script,
            "Python": self.python,
            "Metaflow": self.metaflow,
            "generator": f"{self.generator} {self.generator_version}",
            "aicore-build": self.tool,
            "code package (sha1)": self.package_sha1,
            "code package (sha256)": self.package_sha256,
            **images,
            "file of the workflow template": self.template,
            "workflow template (sha256)": self.template_sha256 or "unknown, with images missing",
        }


def _split(pinned: DigestReference | None) -> dict[str, str]:
    reference, _, digest = str(pinned).partition("@")
    return {"reference": reference, "digest": digest}


def template_path(script: Path, settings: Settings) -> Path:
    """Where `prod` writes a flow's workflow template."""
    return settings.output or script.resolve().with_suffix(".json")


def lock_path(template: Path) -> Path:
    """Where the lock of a workflow template is."""
    return template.with_name(f"{template.stem}.lock.json")


def make_lock(
    flow: Flow,
    images: Iterable[tuple[BuiltImage, BuiltImage]],
    generated: Generated,
    job_tar: Path,
    template: Path,
    text: str,
) -> Lock:
    """Make the lock of what was made.

    Args:
        flow: as it was read.
        images: each dev image with its prod image; one without a digest is not there.
        generated: by which generator, and of which code package.
        job_tar: the code package's file.
        template: where the workflow template goes.
        text: its content.
    """
    locked = tuple(
        LockedImage(
            steps=image.steps,
            image=image.pinned,
            base=base.pinned if base.digest else None,
        )
        for base, image in images
    )
    with job_tar.open("rb") as file:
        package_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Lock(
        flow=flow.name,
        script=flow.script.name,
        images=locked,
        package_sha1=generated.package.sha1,
        package_sha256=package_sha256,
        generator=generated.generator,
        generator_version=generated.generator_version,
        metaflow=flow.metaflow_version,
        python=flow.python_version,
        tool=__version__,
        template=template.name,
        template_sha256=_sha256(text.encode()) if all(image.image for image in locked) else None,
    )


def write_locked(template: Path, text: str, lock: Lock) -> None:
    """Write a workflow template and its lock.

    The lock is last: if we are stopped in between, the one that is there names another hash.

    Raises:
        OutputError: one of them can't be written.
    """
    write_whole(template, text)
    write_whole(
        lock_path(template), json.dumps(lock.as_json(), indent=2, ensure_ascii=False) + "\n"
    )


def read_lock(path: Path) -> Lock:
    """Read a lock.

    Raises:
        LockError: there is none, or what is there is none that we can read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LockError(
            f"There is no lock {path}.\n"
            "`aicore-build prod` writes it; commit it together with the workflow template."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise LockError(f"The lock {path} can't be read: {error}.") from error
    try:
        return _parse(json.loads(text))
    except (KeyError, TypeError, ValueError, AttributeError, FlowError) as error:
        raise LockError(
            f"{path} is no lock that this version of aicore-build can read "
            f"({type(error).__name__}: {str(error).splitlines()[0]}).\n"
            "Restore it, or let `aicore-build prod` write it anew."
        ) from error


def _parse(document: dict[str, Any]) -> Lock:
    if document["schema"] != SCHEMA:
        raise ValueError(f"its schema is {document['schema']}, not {SCHEMA}")
    steps = {name: _text(image) for name, image in document["steps"].items()}
    images = [(_join(image), _join(image["base"])) for image in document["images"]]
    if set(steps.values()) != {str(image) for image, _ in images}:
        raise ValueError("its steps have other images than it lists")
    template = _text(document["workflow_template"]["file"])
    if Path(template).name != template:
        raise ValueError(f"its workflow template {template} is not in the same folder")
    return Lock(
        flow=_text(document["flow"]["name"]),
        script=_text(document["flow"]["script"]),
        images=tuple(
            LockedImage(
                steps=tuple(name for name, its in steps.items() if its == str(image)),
                image=image,
                base=base,
            )
            for image, base in images
        ),
        package_sha1=_text(document["code_package"]["sha1"]),
        package_sha256=_text(document["code_package"]["sha256"]),
        generator=_text(document["generator"]["name"]),
        generator_version=_text(document["generator"]["version"]),
        metaflow=_text(document["metaflow"]),
        python=_text(document["python"]),
        tool=_text(document["aicore_build"]),
        template=template,
        template_sha256=_text(document["workflow_template"]["sha256"]),
    )


def _join(image: dict[str, Any]) -> DigestReference:
    reference = parse_reference(f"{_text(image['reference'])}@{_text(image['digest'])}")
    if not isinstance(reference, DigestReference):
        raise TypeError(f"{reference} has no digest")
    return reference


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def check_same(locked: Lock, now: Lock, template: Path) -> None:
    """Refuse what is not as it was locked.

    Args:
        locked: what has to be.
        now: what `prod` would write.
        template: the workflow template's file.

    Raises:
        LockError: something differs; names all of it.
    """
    old, new = locked.facts(), now.facts()
    lines = [
        f"{name}: {old.get(name, _ABSENT)} → {new.get(name, _ABSENT)}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]
    on_disk = file_sha256(template)
    if on_disk != locked.template_sha256:
        lines.append(
            f"{template.name} on disk (sha256): {locked.template_sha256} → {on_disk or _ABSENT}"
        )
    if lines:
        raise LockError(
            f"What is here now is not what {lock_path(template)} locks:\n"
            + "".join(f"  {line}\n" for line in lines)
            + "No image was pushed and no file written. Restore what has changed; or run "
            "`aicore-build prod` without --locked, and commit the workflow template and the lock "
            "that it writes."
        )


def file_sha256(path: Path) -> str | None:
    """The sha256 of a file; None if there is none.

    Raises:
        LockError: it can't be read.
    """
    try:
        return _sha256(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LockError(f"{path} can't be read: {error.strerror}.") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
