"""`aicore-build dev`: dev images, pushed, and the workflow template that runs the flow in them."""

from pathlib import Path

from aicore_build.builders.docker import DockerBuilder
from aicore_build.context import dev_context
from aicore_build.errors import RegistryError
from aicore_build.flow import Flow, read_flow
from aicore_build.generators import sap
from aicore_build.package import find_package
from aicore_build.parallel import in_parallel
from aicore_build.plan import DevBuild, ImagePlan, plan_dev_builds, plan_images, unused_settings
from aicore_build.progress import DONE, Reporter
from aicore_build.reference import ImageReference, TagReference
from aicore_build.result import BuiltImage, Result, images_by_step, write_whole
from aicore_build.settings import Settings
from aicore_build.workflow import complete, plan_completion, render_json


def dev(
    script: Path, settings: Settings, reporter: Reporter, *, push: bool, template: bool
) -> Result:
    """Build and push the flow's dev images; write the workflow template where S3 is configured.

    Args:
        script: the flow's file.
        settings: as loaded for it.
        reporter: is told of progress.
        push: False builds only, and writes no workflow template: it would name no digest.
        template: False leaves the workflow template out.
    """
    flow, images = read_and_plan(script, settings, reporter)
    writes = template and push and flow.datastore_root is not None
    completion = plan_completion(flow, settings) if writes else None
    if template and push and not writes:
        reporter.note("no workflow template: METAFLOW_DATASTORE_SYSROOT_S3 is not configured.")
    builder = DockerBuilder(settings, reporter, push=push)
    built = ensure_dev_images(images, builder, settings, rebuild=True)
    package, path = None, None
    if completion:
        reporter.phase("workflow template", "generating")
        generated = sap.generate(flow, embedded=False, timeout=settings.generator_timeout)
        package = find_package(generated)
        completed = complete(generated, completion, images_by_step(built))
        path = settings.output or flow.script.with_name(f"{flow.script.stem}-dev.json")
        write_whole(path, render_json(completed))
        reporter.phase("workflow template", f"{DONE}: {path}")
    return Result(command="dev", flow=flow, images=built, package=package, workflow_template=path)


def read_and_plan(
    script: Path, settings: Settings, reporter: Reporter
) -> tuple[Flow, tuple[ImagePlan, ...]]:
    """Read the flow and plan its images; say which settings have no effect on it."""
    flow = read_flow(script, settings.python)
    images = plan_images(flow, settings)
    for note in unused_settings(flow, settings):
        reporter.note(note)
    return flow, images


def ensure_dev_images(
    images: tuple[ImagePlan, ...], builder: DockerBuilder, settings: Settings, *, rebuild: bool
) -> tuple[BuiltImage, ...]:
    """Make sure that there is a dev image for each of the flow's image references.

    Args:
        images: as planned.
        builder: builds, and asks the registry.
        settings: as loaded.
        rebuild: build also those that the registry has.

    Raises:
        RegistryError: an image that is to be used as it is isn't there.
    """
    asked = [image for image in images if not (rebuild and image.environment)]
    digests = in_parallel(lambda image: builder.find(image.reference), asked, settings.jobs)
    ready: dict[ImageReference, BuiltImage] = {
        image.reference: BuiltImage(
            reference=image.reference,
            steps=image.steps,
            built=False,
            base_image=None,
            digest=digest,
        )
        for image, digest in zip(asked, digests, strict=True)
        if digest
    }
    missing = [image for image in images if image.reference not in ready]
    for image in missing:
        if image.environment is None:
            raise RegistryError(
                f"{image.reference} is to be used as it is, but its registry has no such image.\n"
                "Check the reference at the step's @kubernetes, and the setting registry."
            )

    def build(plan: DevBuild) -> list[BuiltImage]:
        return _build(plan, builder, settings)

    for results in in_parallel(build, plan_dev_builds(missing), settings.jobs):
        ready.update({image.reference: image for image in results})
    return tuple(ready[image.reference] for image in images)


def _build(plan: DevBuild, builder: DockerBuilder, settings: Settings) -> list[BuiltImage]:
    name = str(plan.images[0].reference)
    image_id = builder.build(name, dev_context(plan.environment, settings))
    return [
        BuiltImage(
            reference=image.reference,
            steps=image.steps,
            built=True,
            base_image=plan.environment.base_image or None,
            digest=builder.publish(image_id, image.reference),
            image_id=image_id,
        )
        for image in plan.images
        if isinstance(image.reference, TagReference)  # all that are built: a digest can't be
    ]
