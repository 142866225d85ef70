"""Flow + Settings → what is built from what, and under which names. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from aicore_build.errors import FlowError, GeneratorError, SettingsError
from aicore_build.features import judge, uses_packages, uses_plugin
from aicore_build.flow import Flow, Step, plugin_missing, version_of
from aicore_build.libraries import image_libraries
from aicore_build.reference import (
    ImageReference,
    Repository,
    TagReference,
    parse_prefix,
    parse_reference,
)
from aicore_build.settings import Settings, did_you_mean, matches

SHORT_SHA1 = 12
"""Digits of the code package's sha1 in the tag of a prod image."""

_LONGEST_TAG = 128

_OLDEST = (2, 19, 17)
"""The first Metaflow that generates without a cluster."""

NEEDED = ("awscli", "boto3", "requests")
"""What a step's bootstrap calls: without boto3 and requests it would run pip on the cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What makes up a dev image; images with equal environments are built once."""

    base_image: str
    requirements: tuple[str, ...] = ()
    """The lines of the requirements file that pip installs."""

    apt_packages: tuple[str, ...] = ()
    dockerfile: Path | None = None
    """The user's own Dockerfile, which then is all there is to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """One image reference of the flow."""

    reference: ImageReference
    steps: tuple[str, ...]

    environment: Environment | None
    """None: the dev image is somebody else's and used as it is."""

    prod_repository: Repository
    prod_tag_prefix: str

    def prod_reference(self, package: str) -> TagReference:
        """Where the prod image goes.

        Args:
            package: the code package's sha1, or the first 12 digits of it.
        """
        return TagReference(
            repository=self.prod_repository,
            tag=f"{self.prod_tag_prefix}prod-{package[:SHORT_SHA1]}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DevBuild:
    """One dev image to build, and the images of the flow that it becomes."""

    environment: Environment
    images: tuple[ImagePlan, ...]


def plan_images(flow: Flow, settings: Settings) -> tuple[ImagePlan, ...]:
    """Plan one image per distinct image reference, in the order of the flow's steps.

    Raises:
        FlowError: a step has no image, or one that is no image reference or too long; the flow has
            what can't run on SAP AI Core; or steps that share an image disagree on a package.
        GeneratorError: the flow's Python has not what generates its workflow template.
        SettingsError: two images would be pushed to one place.
    """
    _check_generator(flow, settings)
    judge(flow, settings)
    plans: dict[str, ImagePlan] = {}
    for step in flow.steps:
        text = _image_of(step, settings)
        plan = _plan_image(text, step, flow, settings)
        known = plans.setdefault(str(plan.reference), plan)
        if known is not plan:
            plans[str(plan.reference)] = replace(known, steps=(*known.steps, step.name))
    _refuse_unusable_targets(tuple(plans.values()))
    return tuple(_with_packages(plan, flow) for plan in plans.values())


def plan_dev_builds(images: Iterable[ImagePlan]) -> tuple[DevBuild, ...]:
    """Plan one build per distinct environment, in the order of the images."""
    builds: dict[Environment, list[ImagePlan]] = {}
    for image in images:
        if image.environment:
            builds.setdefault(image.environment, []).append(image)
    return tuple(
        DevBuild(environment=environment, images=tuple(images))
        for environment, images in builds.items()
    )


def _with_packages(plan: ImagePlan, flow: Flow) -> ImagePlan:
    """Add the packages of @pypi and @conda to the libraries of an image that we make."""
    steps = [step for step in flow.steps if step.name in plan.steps]
    libraries = image_libraries(steps, str(plan.reference))
    if plan.environment is None or plan.environment.dockerfile:
        return plan
    requirements = (*plan.environment.requirements, *libraries)
    return replace(plan, environment=replace(plan.environment, requirements=requirements))


def _image_of(step: Step, settings: Settings) -> str:
    image = step.image or settings.default_image
    if image is None:
        raise FlowError(
            f"Step {step.name} names no image.\n"
            'Give it @kubernetes(image="registry/repository:tag"), or set default-image for all '
            "steps without one."
        )
    return image


def _plan_image(text: str, step: Step, flow: Flow, settings: Settings) -> ImagePlan:
    try:
        reference = parse_reference(text)
    except FlowError as error:
        raise FlowError(f"The image of step {step.name}: {error}") from error
    builds = isinstance(reference, TagReference) and _is_under(
        reference.repository, settings.registry
    )
    return ImagePlan(
        reference=reference,
        steps=(step.name,),
        environment=_environment((text, str(reference)), flow, settings) if builds else None,
        prod_repository=_prod_repository(reference.repository, settings.registry),
        prod_tag_prefix=f"{reference.tag}-" if reference.tag else "",
    )


def _environment(spellings: Iterable[str], flow: Flow, settings: Settings) -> Environment:
    own = settings.image_settings(spellings)
    version = ".".join(flow.python_version.split(".")[:2])
    base_image = own.base_image or settings.base_image or f"python:{version}-slim"
    if own.dockerfile:
        return Environment(base_image="", dockerfile=own.dockerfile)
    libraries = settings.requirements if own.requirements is None else own.requirements
    packages = settings.apt_packages if own.apt_packages is None else own.apt_packages
    return Environment(
        base_image=base_image,
        requirements=(_metaflow(flow, settings), *NEEDED, *libraries),
        apt_packages=packages,
    )


def _metaflow(flow: Flow, settings: Settings) -> str:
    """The requirement that brings the Metaflow of this machine into an image."""
    if uses_plugin(flow, settings):
        return f"sap-ai-core-metaflow=={flow.plugin_version}"
    return f"metaflow=={flow.metaflow_version}"


def _check_generator(flow: Flow, settings: Settings) -> None:
    if uses_plugin(flow, settings):
        if flow.plugin_version is None:
            raise GeneratorError(plugin_missing(flow.python, "The plugin sap-ai-core-metaflow"))
    elif version_of(flow.metaflow_version) < _OLDEST:
        raise GeneratorError(
            f"Metaflow {flow.metaflow_version} can't generate a workflow template by itself.\n"
            f"Install 2.19.17 or newer in the flow's Python, {flow.python}; or the plugin there, "
            "with which generator = sap: pip install sap-ai-core-metaflow."
        )


def _is_under(repository: Repository, registry: str | None) -> bool:
    if registry is None:
        return True
    prefix = str(_prefix(registry)).rstrip("/")
    return f"{repository}/".startswith(f"{prefix}/")


def _prefix(registry: str) -> Repository:
    try:
        return parse_prefix(registry)
    except ValueError as error:
        raise SettingsError(f"registry: {error}.") from error


def _prod_repository(repository: Repository, registry: str | None) -> Repository:
    """Where an image's prod variant goes; one of another registry under ours, its path flat.

    Flat, since Docker Hub and others have no folders below an account.
    """
    if registry is None or _is_under(repository, registry):
        return repository
    prefix = _prefix(registry)
    name = repository.path.removeprefix("library/").replace("/", "-")
    return replace(prefix, path=f"{prefix.path}/{name}".lstrip("/"))


def _refuse_unusable_targets(plans: tuple[ImagePlan, ...]) -> None:
    targets: dict[str, ImagePlan] = {}
    for plan in plans:
        if len(plan.prod_tag_prefix) > _LONGEST_TAG - len("prod-") - SHORT_SHA1:
            raise FlowError(
                f"The tag of {plan.reference} is too long for `-prod-` and {SHORT_SHA1} digits "
                f"after it: a tag has up to {_LONGEST_TAG} characters."
            )
        target = str(plan.prod_reference("<package>"))
        other = targets.setdefault(target, plan)
        if other is not plan:
            raise SettingsError(
                f"The prod images of {other.reference} and {plan.reference} would both be pushed "
                f"to {target}.\nGive one of them another tag."
            )


def flow_notes(flow: Flow, images: Iterable[ImagePlan], settings: Settings) -> tuple[str, ...]:
    """Say what of the flow is otherwise on SAP AI Core, and which packages nobody installs."""
    packaged = {step.name for step in flow.steps if uses_packages(step)}
    notes = list(judge(flow, settings))
    for image in images:
        steps = [name for name in image.steps if name in packaged]
        if steps and (image.environment is None or image.environment.dockerfile):
            notes.append(
                f"{image.reference} is not made by aicore-build: the packages of @pypi and @conda "
                f"at {', '.join(steps)} have to be in it."
            )
    return tuple(notes)


def unused_settings(flow: Flow, settings: Settings) -> tuple[str, ...]:
    """Name the settings for images and steps that this flow has not: mostly misspelt."""
    steps = [step.name for step in flow.steps]
    images = [_image_of(step, settings) for step in flow.steps]
    spellings = {text for image in images for text in (image, str(parse_reference(image)))}
    notes = [
        f"steps.{name} is set, but the flow has no such step.{did_you_mean(name, steps)}"
        for name in settings.steps
        if name not in steps
    ]
    notes += [
        f'images."{pattern}" is set, but matches no image of the flow.'
        for pattern in settings.images
        if not matches(pattern, spellings)
    ]
    return tuple(notes)
