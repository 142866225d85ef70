"""`aicore-build prod`: prod images, with the code inside, and the workflow template for them."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from aicore_build.builders import Builder, Embedding, Made
from aicore_build.changes import Inputs
from aicore_build.dev import ensure_dev_images, find_dev_images
from aicore_build.errors import FlowError, SettingsError
from aicore_build.flow import Flow
from aicore_build.generators import Generated
from aicore_build.generators.choice import generate
from aicore_build.lint.gate import refuse_errors
from aicore_build.lint.rules import check_codes
from aicore_build.lock import (
    check_same,
    lock_path,
    make_lock,
    read_lock,
    template_path,
    write_locked,
)
from aicore_build.package import PackageAddress, check_package, download_package, keep_package
from aicore_build.parallel import at_once, in_parallel
from aicore_build.plan import ImagePlan
from aicore_build.progress import DONE, Reporter
from aicore_build.record import find_up_to_date, prod_inputs
from aicore_build.reference import Digest, Repository
from aicore_build.result import BuiltImage, Result, images_by_step
from aicore_build.run import Run, make_run, read_and_plan
from aicore_build.settings import BuilderName, Settings
from aicore_build.workflow import complete, plan_completion, render_json


def prod(  # noqa: PLR0913 - an argument for each flag
    script: Path,
    settings: Settings,
    reporter: Reporter,
    *,
    push: bool,
    force: bool = False,
    locked: bool = False,
    push_to: Path | None = None,
    offline: bool = False,
) -> Result:
    """Embed the flow's code into its images, push them, and write the workflow template.

    Args:
        script: the flow's file.
        settings: as loaded for it.
        reporter: is told of progress.
        push: False builds only, and writes no workflow template: it would name no digest.
        force: embed also into images that the registry has already.
        locked: push and write nothing; fail if anything would differ from the lock.
        push_to: an OCI image layout that takes the images instead of their registry.
        offline: make the code package here, and ask no S3.
    """
    _refuse_contradictions(settings, push=push, force=force, locked=locked, push_to=push_to)
    ignore = check_codes(settings.lint_ignore)
    path = template_path(script, settings)
    lock = read_lock(lock_path(path)) if locked else None
    flow, images = read_and_plan(script, settings, reporter)
    if offline:
        refuse_included_files(flow)
    completion = plan_completion(flow, settings)
    run = make_run(settings, reporter, push=push, force=force, locked=locked, push_to=push_to)
    if run.layout:
        run.layout.check()
    reporter.phase("workflow template", "generating")
    bases, sessions, (generated, job_tar) = at_once(
        lambda: _dev_images(run, images),
        lambda: _open_uploads(run, images),
        lambda: _generate(flow, settings, offline=offline),
    )
    package = generated.package
    with _builder(run, flow, sessions) as builder:
        if push:
            # Before a push; the images that it will name differ in nothing that a rule looks at.
            draft = complete(generated.workflow_template, completion, _drafted(images, package))
            refuse_errors(draft, path, reporter, ignore=ignore)

        def embed(pair: tuple[ImagePlan, BuiltImage]) -> BuiltImage:
            return _embed(run, builder, *pair, package, job_tar)

        built = tuple(in_parallel(embed, zip(images, bases, strict=True), settings.jobs))
    if push:
        text = render_json(complete(generated.workflow_template, completion, images_by_step(built)))
        now = make_lock(flow, zip(bases, built, strict=True), generated, job_tar, path, text)
        if lock:
            check_same(lock, now, path)
        else:
            write_locked(path, text, now)
        reporter.phase("workflow template", f"{DONE}: {path}")
    if run.layout:
        reporter.note(
            f"carry each image over: skopeo copy --all --preserve-digests "
            f"oci:{run.layout.folder}:REFERENCE docker://REFERENCE"
        )
    return Result(
        command="prod",
        flow=flow,
        images=built,
        package=package,
        workflow_template=path if push else None,
        lock=lock_path(path) if push else None,
    )


def _refuse_contradictions(
    settings: Settings, *, push: bool, force: bool, locked: bool, push_to: Path | None
) -> None:
    if not push and settings.builder is BuilderName.REGISTRY:
        raise SettingsError("--no-push needs a Docker Engine: the builder registry only pushes.")
    if locked and (force or not push):
        raise SettingsError("--locked builds nothing: leave out --force and --no-push.")
    if push_to and settings.builder is not BuilderName.REGISTRY:
        raise SettingsError("--push-to needs the other builder: add --builder registry.")


def _drafted(images: tuple[ImagePlan, ...], package: PackageAddress) -> dict[str, str]:
    """The reference of each step's prod image, with a digest that stands for the one to come."""
    digest = Digest(f"sha256:{'0' * 64}")
    return {
        step: str(image.prod_reference(package.sha1).pinned(digest))
        for image in images
        for step in image.steps
    }


def refuse_included_files(flow: Flow) -> None:
    """Refuse a flow whose workflow template can't be made without S3.

    Raises:
        FlowError: it has an IncludeFile.
    """
    if found := [p.name for p in flow.parameters if p.kind == "IncludeFile"]:
        raise FlowError(
            f"--offline can't be had with IncludeFile ({', '.join(found)}): Metaflow uploads the "
            "file to S3 when it generates, and the steps read it there.\n"
            "Leave out --offline, or put the file beside the flow and into the code package: "
            "--metaflow-options --package-suffixes=.csv."
        )


def _generate(flow: Flow, settings: Settings, *, offline: bool) -> tuple[Generated, Path]:
    """The workflow template, and the file of its code package, checked."""
    if not offline:
        generated = generate(flow, settings, embedded=True)
        return generated, fetch_package(generated.package, flow, settings)
    with tempfile.TemporaryDirectory(prefix="aicore-build-") as folder:
        generated = generate(flow, settings, embedded=True, packages=Path(folder))
        job_tar = keep_package(Path(folder), generated.package.sha1, _cache())
    check_package(job_tar, flow.script.name, settings.allow_secrets)
    return generated, job_tar


def fetch_package(package: PackageAddress, flow: Flow, settings: Settings) -> Path:
    """Download the code package and check it; return its file."""
    job_tar = download_package(package, flow.s3_endpoint, _cache())
    check_package(job_tar, flow.script.name, settings.allow_secrets)
    return job_tar


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aicore-build"


def _dev_images(run: Run, images: tuple[ImagePlan, ...]) -> tuple[BuiltImage, ...]:
    """The dev images; with --locked also those that are not there, without a digest."""
    if not run.locked:
        return ensure_dev_images(run, images)
    ready = find_dev_images(run, images)
    return tuple(ready.get(image.reference) or _not_there(image) for image in images)


def _not_there(plan: ImagePlan) -> BuiltImage:
    return BuiltImage(
        reference=plan.reference, steps=plan.steps, built=False, base_image=None, digest=None
    )


def _open_uploads(run: Run, images: tuple[ImagePlan, ...]) -> dict[Repository, str]:
    """Begin an upload to each repository: "denied" comes now, not after the build.

    Raises:
        RegistryError: we may not push there, or the registry gave no answer.
    """
    if not run.push or run.locked or run.layout:
        return {}
    repositories = tuple(dict.fromkeys(image.prod_repository for image in images))
    sessions = in_parallel(run.client.open_upload, repositories, run.settings.jobs)
    return dict(zip(repositories, sessions, strict=True))


@contextlib.contextmanager
def _builder(run: Run, flow: Flow, sessions: Mapping[Repository, str]) -> Iterator[Builder]:
    """The builder that the settings name, and the end of the uploads that nobody used."""
    from aicore_build.builders.registry import RegistryBuilder, git_revision  # noqa: PLC0415
    from aicore_build.embed import created_at  # noqa: PLC0415

    if run.locked:
        yield _NoBuilder()
        return
    if run.settings.builder is BuilderName.DOCKER:
        for repository, session in sessions.items():
            run.client.cancel_upload(repository, session)
        yield run.docker()
        return
    with (
        run.layout or contextlib.nullcontext(),
        RegistryBuilder(
            run.client,
            run.reporter,
            platform=run.settings.platform,
            created=created_at(os.environ),
            revision=git_revision(flow.script.parent),
            sessions=sessions,
            layout=run.layout,
        ) as builder,
    ):
        yield builder


class _NoBuilder:
    """Leaves an image that is not there where it is."""

    def embed(self, _embedding: Embedding) -> Made:
        return Made(digest=None, image_id=None)


def embedding_inputs(settings: Settings, base: BuiltImage, package: str) -> Inputs:
    """What a prod image is made from: its dev image, and the package with this sha1."""
    return prod_inputs(settings.builder, str(base.digest or base.image_id), package)


def _embed(
    run: Run,
    builder: Builder,
    plan: ImagePlan,
    base: BuiltImage,
    package: PackageAddress,
    job_tar: Path,
) -> BuiltImage:
    target = plan.prod_reference(package.sha1)
    inputs = embedding_inputs(run.settings, base, package.sha1)
    ready = None
    if run.push and not run.force:
        ready = find_up_to_date(run.layout or run.client, target, inputs)
    if ready:
        run.reporter.phase(str(target), f"{DONE}: up to date")
        made = Made(digest=ready.digest, image_id=None)
    else:
        made = builder.embed(Embedding(base=base, target=target, package=job_tar, inputs=inputs))
    return BuiltImage(
        reference=target,
        steps=plan.steps,
        built=ready is None,
        base_image=str(base.pinned or base.image_id),
        digest=made.digest,
        image_id=made.image_id,
    )
