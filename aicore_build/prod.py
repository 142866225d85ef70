"""`aicore-build prod`: prod images, with the code inside, and the workflow template for them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aicore_build.builders.docker import DockerBuilder
from aicore_build.context import prod_context
from aicore_build.dev import ensure_dev_images, read_and_plan
from aicore_build.flow import Flow
from aicore_build.generators import sap
from aicore_build.package import PackageAddress, check_package, download_package, find_package
from aicore_build.parallel import in_parallel
from aicore_build.plan import ImagePlan
from aicore_build.progress import DONE, Reporter
from aicore_build.result import BuiltImage, Result, images_by_step, write_whole
from aicore_build.settings import Settings
from aicore_build.workflow import Json, complete, plan_completion, render_json


def prod(script: Path, settings: Settings, reporter: Reporter, *, push: bool) -> Result:
    """Embed the flow's code into its images, push them, and write the workflow template.

    Args:
        script: the flow's file.
        settings: as loaded for it.
        reporter: is told of progress.
        push: False builds only, and writes no workflow template: it would name no digest.
    """
    flow, images = read_and_plan(script, settings, reporter)
    completion = plan_completion(flow, settings)
    builder = DockerBuilder(settings, reporter, push=push)

    def generate(*, embedded: bool) -> Json:
        return sap.generate(flow, embedded=embedded, timeout=settings.generator_timeout)

    reporter.phase("workflow template", "generating")
    bases, plain, embedded = _at_once(
        lambda: ensure_dev_images(images, builder, settings, rebuild=False),
        lambda: generate(embedded=False),
        lambda: generate(embedded=True),
    )
    package = find_package(plain)
    job_tar = fetch_package(package, flow)

    def embed(pair: tuple[ImagePlan, BuiltImage]) -> BuiltImage:
        return _embed(*pair, package, job_tar, builder)

    built = tuple(in_parallel(embed, zip(images, bases, strict=True), settings.jobs))
    path = None
    if push:
        completed = complete(embedded, completion, images_by_step(built))
        path = settings.output or flow.script.with_suffix(".json")
        write_whole(path, render_json(completed))
        reporter.phase("workflow template", f"{DONE}: {path}")
    return Result(command="prod", flow=flow, images=built, package=package, workflow_template=path)


def fetch_package(package: PackageAddress, flow: Flow) -> Path:
    """Download the code package and check it; return its file."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aicore-build"
    job_tar = download_package(package, flow.s3_endpoint, cache)
    check_package(job_tar, flow.script.name)
    return job_tar


def _embed(
    plan: ImagePlan,
    base: BuiltImage,
    package: PackageAddress,
    job_tar: Path,
    builder: DockerBuilder,
) -> BuiltImage:
    reference = plan.prod_reference(package.sha1)
    base_image = str(base.pinned or base.image_id)
    image_id = builder.build(str(reference), prod_context(base_image, job_tar))
    return BuiltImage(
        reference=reference,
        steps=plan.steps,
        built=True,
        base_image=base_image,
        digest=builder.publish(image_id, reference),
        image_id=image_id,
    )


def _at_once(*calls: Callable[[], Any]) -> list[Any]:
    return in_parallel(lambda call: call(), calls, len(calls))
