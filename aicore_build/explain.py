"""`aicore-build plan --explain`: why each image would be built or not, and what changed.

What `dev` and `prod` decide is decided here by the same functions; then nothing is done.
"""

import gzip
import tarfile
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from aicore_build.changes import Change, Input, Inputs, compare_files, fingerprint_files
from aicore_build.context import dev_context
from aicore_build.dev import build_inputs, find_dev_images, refuse_missing
from aicore_build.dockerfile import PACKAGE_HOME
from aicore_build.errors import BuildError, EngineError, RegistryError
from aicore_build.flow import Flow
from aicore_build.layer import Entry
from aicore_build.local_package import save_package
from aicore_build.lock import Lock, lock_path, read_lock, template_path
from aicore_build.package import package_entries
from aicore_build.parallel import at_once, in_parallel
from aicore_build.plan import DevBuild, ImagePlan, plan_dev_builds
from aicore_build.prod import embedding_inputs
from aicore_build.progress import Reporter
from aicore_build.record import Comparison, changes_since, compare, find_record
from aicore_build.reference import (
    Digest,
    DigestReference,
    ImageReference,
    TagReference,
    parse_reference,
)
from aicore_build.registry import Manifest, RegistryClient
from aicore_build.result import BuiltImage
from aicore_build.run import Run, make_run
from aicore_build.settings import Settings

_TOP_LAYERS = 3
"""How many are looked at for the code package: Docker puts an empty one above it for WORKDIR."""

_PIECE = 1024 * 1024
_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Of one image reference of the flow."""

    reference: ImageReference

    dev: Comparison | None
    """None: it is used as it is."""

    prod_reference: TagReference
    prod: Comparison

    compared_with: DigestReference | TagReference | None
    """The prod image that the changes are changes to; None where none is known."""

    def as_json(self) -> dict[str, Any]:
        """For `--json`; documented in docs/json.md."""
        return {
            "dev": {
                "action": _action(self.dev, "build") if self.dev else "use",
                "changes": [c.as_json() for c in self.dev.changes] if self.dev else [],
            },
            "prod": {
                "reference": str(self.prod_reference),
                "action": _action(self.prod, "embed"),
                "compared_with": self.compared_with and str(self.compared_with),
                "changes": [change.as_json() for change in self.prod.changes],
            },
        }

    def as_lines(self) -> Iterator[str]:
        """For people."""
        yield str(self.reference)
        if self.dev is None:
            yield "  dev uses it as it is"
        elif self.dev.up_to_date:
            yield "  dev leaves it: up to date"
        else:
            yield from ("  dev builds it:", *_lines(self.dev.changes))
        if self.prod.up_to_date:
            yield f"  prod leaves {self.prod_reference}: up to date"
        else:
            yield from (f"  prod embeds {self.prod_reference}:", *_lines(self.prod.changes))


def explain(
    flow: Flow, images: tuple[ImagePlan, ...], settings: Settings, reporter: Reporter
) -> tuple[Explanation, ...]:
    """Ask the registries what is there, and say of each image what `dev` and `prod` would do.

    Builds, pushes and writes nothing. Base images are those of the Docker Engine, as for `dev`;
    where none runs, those of their registries.

    Raises:
        RegistryError: a registry gave no answer, refused one, or lacks an image that is used.
        BuildError: a base image is nowhere.
        PackageError: the code package can't be made.
        LockError: there is a lock, but none that can be read.
    """
    run = make_run(settings, reporter, push=True, force=False)
    path = lock_path(template_path(flow.script, settings))
    lock = read_lock(path) if path.is_file() else None
    with tempfile.TemporaryDirectory(prefix="aicore-build-") as folder:
        job_tar = Path(folder) / "job.tar"
        reporter.phase("code package and registry", "comparing")
        sha1, dev, bases = at_once(
            lambda: save_package(flow, job_tar, settings.generator_timeout),
            lambda: _compare_dev(run, images),
            lambda: find_dev_images(run, images),
        )
        refuse_missing([i for i in images if i.environment is None and i.reference not in bases])
        prod = _ProdComparer(run, lock, sha1, job_tar)

        def explain_one(image: ImagePlan) -> Explanation:
            base = bases.get(image.reference) or _not_there(image)
            return prod.explain(image, base, dev.get(image.reference))

        return tuple(in_parallel(explain_one, images, settings.jobs))


def _compare_dev(run: Run, images: tuple[ImagePlan, ...]) -> dict[ImageReference, Comparison]:
    identify = _identifier(run)

    def compare_build(plan: DevBuild) -> dict[ImageReference, Comparison]:
        context = dev_context(plan.environment, run.settings)
        inputs = build_inputs(plan, context, run.settings, identify)
        tags = (i.reference for i in plan.images if isinstance(i.reference, TagReference))
        return {tag: compare(run.client, tag, inputs) for tag in tags}

    found = in_parallel(compare_build, plan_dev_builds(images), run.settings.jobs)
    return {reference: its for each in found for reference, its in each.items()}


def _identifier(run: Run) -> Callable[[str], str]:
    """What base images are: what the engine says; what their registries say where none runs."""

    def identify(base: str) -> str:
        try:
            return run.docker().identify(base)
        except EngineError as engine:
            try:
                digest = run.client.find(parse_reference(base))
            except RegistryError as registry:
                raise RegistryError(f"{registry}\nNor is there an engine: {engine}") from registry
            if digest is None:
                raise BuildError(
                    f"The base image {base} can't be had: its registry has no such image, and no "
                    "Docker Engine runs that may have it.\nCheck the setting base-image."
                ) from None
            return str(digest)

    return identify


def _not_there(plan: ImagePlan) -> BuiltImage:
    """A dev image that is still to be built: nobody knows its digest."""
    return BuiltImage(
        reference=plan.reference,
        steps=plan.steps,
        built=False,
        base_image=None,
        digest=None,
        image_id="not built yet",
    )


class _ProdComparer:
    """Compares prod images with what they would be made from; reads the old package once."""

    def __init__(self, run: Run, lock: Lock | None, sha1: str, job_tar: Path) -> None:
        self._run = run
        self._lock = lock
        self._sha1 = sha1
        self._job_tar = job_tar
        self._lock_files = threading.Lock()
        self._files: dict[str, tuple[Change, ...]] = {}
        """What changed, by the sha1 of the package before: mostly all images have the same."""

    def explain(self, image: ImagePlan, base: BuiltImage, dev: Comparison | None) -> Explanation:
        target = image.prod_reference(self._sha1)
        inputs = embedding_inputs(self._run.settings, base, self._sha1)
        prod = compare(self._run.client, target, inputs)
        compared_with: DigestReference | TagReference | None = target if prod.is_there else None
        if not prod.is_there:
            compared_with = self._locked(image)
            changes = self._changes(compared_with, inputs)
            prod = Comparison(up_to_date=None, is_there=False, changes=changes)
        return Explanation(
            reference=image.reference,
            dev=dev,
            prod_reference=target,
            prod=prod,
            compared_with=compared_with,
        )

    def _locked(self, image: ImagePlan) -> DigestReference | None:
        """The prod image that was pushed last, as the lock has it."""
        prefix = f"{image.prod_tag_prefix}prod-"
        for locked in self._lock.images if self._lock else ():
            found = locked.image
            if found and found.repository == image.prod_repository:
                digits = (found.tag or "").removeprefix(prefix)
                if found.tag == f"{prefix}{digits}" and "-" not in digits:
                    return found
        return None

    def _changes(self, last: DigestReference | None, inputs: Inputs) -> tuple[Change, ...]:
        if last is None:
            why = "no lock" if self._lock is None else "no image in the lock"
            note = f"its registry has none with this code; {why} tells which was pushed last"
            return (Change(input=Input.IMAGE, note=note),)
        found = find_record(self._run.client, last)
        if found is None:
            note = f"its registry has none with this code, and no longer the one before, {last}"
            return (Change(input=Input.IMAGE, note=note),)
        changes = changes_since(found, inputs)
        package = [change.before for change in changes if change.input is Input.CODE_PACKAGE]
        if package and package[0]:
            return (*changes, *self._changed_files(package[0], last, found.manifest))
        if not changes:
            return (Change(input=Input.IMAGE, note=f"its tag is gone; {last} is the same"),)
        return changes

    def _changed_files(
        self, sha1: str, last: DigestReference, manifest: Manifest
    ) -> tuple[Change, ...]:
        with self._lock_files:
            if sha1 not in self._files:
                old = read_embedded(self._run.client, last, manifest)
                with package_entries(self._job_tar, PACKAGE_HOME) as entries:
                    new = fingerprint_files(entries, PACKAGE_HOME)
                self._files[sha1] = compare_files(old, new)
            return self._files[sha1]


def read_embedded(
    client: RegistryClient, image: DigestReference, manifest: Manifest
) -> dict[str, str]:
    """The fingerprints of the code package's files in a prod image, read from its top layer.

    Raises:
        RegistryError: the registry gave no answer, or what it has there is no code package.
    """
    for layer in reversed(manifest.parsed()["layers"][-_TOP_LAYERS:]):
        try:
            with (
                client.open_blob(image.repository, Digest(layer["digest"]), layer["size"]) as blob,
                gzip.open(blob) as plain,
                tarfile.open(fileobj=plain, mode="r|") as tar,
            ):
                found = fingerprint_files(_layer_entries(tar), PACKAGE_HOME)
                while plain.read(_PIECE):  # its digest is checked at its end
                    pass
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise RegistryError(f"A layer of {image} can't be read: {error}.") from error
        if found:
            return found
    raise RegistryError(f"{image} has no code package in /{PACKAGE_HOME}.")


def _layer_entries(tar: tarfile.TarFile) -> Iterator[Entry]:
    for member in tar:

        def content(member: tarfile.TarInfo = member) -> IO[bytes]:
            return cast("IO[bytes]", tar.extractfile(member))

        opener = content if member.isfile() else None
        yield Entry(name=member.name.removeprefix("./"), mode=member.mode, open=opener)


def _action(comparison: Comparison, verb: str) -> str:
    return "up to date" if comparison.up_to_date else verb


def _lines(changes: tuple[Change, ...]) -> list[str]:
    lines = [f"    {change}" for change in changes[:_SHOWN]]
    return lines + ([f"    and {len(changes) - _SHOWN} more"] if len(changes) > _SHOWN else [])
