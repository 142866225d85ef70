"""`aicore-build dev`: dev images, pushed, and the workflow template that runs the flow in them."""

from collections.abc import Callable
from pathlib import Path

from aicore_build.changes import Inputs
from aicore_build.context import BuildContext, dev_context
from aicore_build.dockerfile import base_images
from aicore_build.errors import RegistryError
from aicore_build.generators.choice import generate
from aicore_build.lint.gate import refuse_errors
from aicore_build.lint.rules import check_codes
from aicore_build.parallel import in_parallel
from aicore_build.plan import DevBuild, ImagePlan, plan_dev_builds
from aicore_build.progress import DONE, Reporter
from aicore_build.record import dev_inputs, find_up_to_date
from aicore_build.reference import ImageReference, TagReference
from aicore_build.result import BuiltImage, Result, images_by_step, write_whole
from aicore_build.run import Run, make_run, read_and_plan
from aicore_build.settings import Settings
from aicore_build.workflow import complete, plan_completion, render_json


def dev(
    script: Path,
    settings: Settings,
    reporter: Reporter,
    *,
    push: bool,
    template: bool,
    force: bool = False,
) -> Result:
    """Build and push the flow's dev images; write the workflow template where S3 is configured.

    Args:
        script: the flow's file.
        settings: as loaded for it.
        reporter: is told of progress.
        push: False builds only, and writes no workflow template: it would name no digest.
        template: False leaves the workflow template out.
        force: build also what the registry has already.
    """
    ignore = check_codes(settings.lint_ignore)
    flow, images = read_and_plan(script, settings, reporter)
    writes = template and push and flow.datastore_root is not None
    completion = plan_completion(flow, settings) if writes else None
    if template and push and not writes:
        reporter.note("no workflow template: METAFLOW_DATASTORE_SYSROOT_S3 is not configured.")
    run = make_run(settings, reporter, push=push, force=force)
    if push:
        check_access(run, images)
    built = build_dev_images(run, images)
    package, path = None, None
    if completion:
        reporter.phase("workflow template", "generating")
        generated = generate(flow, settings, embedded=False)
        package = generated.package
        completed = complete(generated.workflow_template, completion, images_by_step(built))
        path = settings.output or flow.script.with_name(f"{flow.script.stem}-dev.json")
        refuse_errors(completed, path, reporter, ignore=ignore)
        write_whole(path, render_json(completed))
        reporter.phase("workflow template", f"{DONE}: {path}")
    return Result(command="dev", flow=flow, images=built, package=package, workflow_template=path)


def check_access(run: Run, images: tuple[ImagePlan, ...]) -> None:
    """Begin and cancel an upload to each repository: "denied" comes now, not after the build.

    Raises:
        RegistryError: we may not push there, or the registry gave no answer.
    """
    repositories = dict.fromkeys(i.reference.repository for i in images if i.environment)
    for repository in repositories:
        run.client.cancel_upload(repository, run.client.open_upload(repository))


def build_dev_images(run: Run, images: tuple[ImagePlan, ...]) -> tuple[BuiltImage, ...]:
    """Build and push the dev images that the registry hasn't, made from the same inputs.

    Raises:
        RegistryError: an image that is to be used as it is isn't there.
    """
    theirs = [image for image in images if image.environment is None]
    ready = find_dev_images(run, theirs)
    refuse_missing([image for image in theirs if image.reference not in ready])

    def build(plan: DevBuild) -> list[BuiltImage]:
        return _build(run, plan)

    for results in in_parallel(build, plan_dev_builds(images), run.settings.jobs):
        ready.update({image.reference: image for image in results})
    return tuple(ready[image.reference] for image in images)


def ensure_dev_images(run: Run, images: tuple[ImagePlan, ...]) -> tuple[BuiltImage, ...]:
    """Use the dev images that the registry has; build and push those that it lacks.

    Raises:
        RegistryError: an image that is to be used as it is isn't there.
    """
    ready = find_dev_images(run, images)
    missing = tuple(image for image in images if image.reference not in ready)
    built = {image.reference: image for image in build_dev_images(run, missing)}
    return tuple({**ready, **built}[image.reference] for image in images)


def find_dev_images(
    run: Run, images: tuple[ImagePlan, ...] | list[ImagePlan]
) -> dict[ImageReference, BuiltImage]:
    """Ask the registries for images; what they have not is not in the result."""
    manifests = in_parallel(
        lambda image: run.client.get_manifest(image.reference), images, run.settings.jobs
    )
    return {
        image.reference: BuiltImage(
            reference=image.reference,
            steps=image.steps,
            built=False,
            base_image=None,
            digest=manifest.digest,
            manifest=manifest,
        )
        for image, manifest in zip(images, manifests, strict=True)
        if manifest
    }


def refuse_missing(images: list[ImagePlan]) -> None:
    """Refuse images of others that are not there.

    Raises:
        RegistryError: there are some.
    """
    if images:
        raise RegistryError(
            f"{images[0].reference} is to be used as it is, but its registry has no such image.\n"
            "Check the reference at the step's @kubernetes, and the setting registry."
        )


def _build(run: Run, plan: DevBuild) -> list[BuiltImage]:
    """Build one environment, unless all its references are up to date."""
    context = dev_context(plan.environment, run.settings)
    inputs = build_inputs(plan, context, run.settings, run.docker().identify)
    tags = {i.reference: i for i in plan.images if isinstance(i.reference, TagReference)}
    ready = {}
    if run.push and not run.force:
        ready = {tag: find_up_to_date(run.client, tag, inputs) for tag in tags}
    missing = [tag for tag in tags if not ready.get(tag)]
    image_id = run.docker().build(str(missing[0]), context, inputs) if missing else None
    digests = {tag: manifest.digest for tag, manifest in ready.items() if manifest}
    for tag in digests:
        run.reporter.phase(str(tag), f"{DONE}: up to date")
    return [
        BuiltImage(
            reference=tag,
            steps=image.steps,
            built=tag in missing,
            base_image=plan.environment.base_image or None,
            digest=run.docker().publish(image_id, tag)
            if image_id and tag in missing
            else digests.get(tag),
            image_id=image_id if tag in missing else None,
        )
        for tag, image in tags.items()
    ]


def build_inputs(
    plan: DevBuild, context: BuildContext, settings: Settings, identify: Callable[[str], str]
) -> Inputs:
    """What a dev image is made from.

    Args:
        plan: of the build.
        context: of the same.
        settings: say for which platform.
        identify: gives the digest or ID of a base image.
    """
    bases = {base: identify(base) for base in base_images(context.dockerfile)}
    return dev_inputs(context, plan.environment, bases, settings.platform)
