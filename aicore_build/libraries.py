"""@pypi and @conda → the libraries of the images. Pure."""

from collections.abc import Iterable, Iterator, Mapping

from aicore_build.errors import FlowError
from aicore_build.flow import PACKAGED_BY, Flow, Step
from aicore_build.settings import check_requirements


def step_libraries(step: Step) -> dict[str, str]:
    """The packages of a step as requirements that pip takes, by the packages' names.

    Raises:
        FlowError: pip can't install one.
    """
    found: dict[str, str] = {}
    for name in PACKAGED_BY:
        decorator = step.decorators.get(name)
        if decorator is None or decorator.get("disabled"):
            continue
        for package, version in decorator["packages"].items():
            library = package.rpartition("::")[2]
            if library != "python":
                found[library] = _requirement(library, str(version or ""), step, name)
    try:
        check_requirements(found.values(), f"step {step.name}")
    except ValueError as error:
        raise FlowError(f"{error}.") from error
    return found


def _requirement(library: str, version: str, step: Step, decorator: str) -> str:
    """As Metaflow's own environments hand it to pip."""
    if decorator == "conda" and "=" in version.lstrip("<>=!~"):
        raise FlowError(
            f"@conda at step {step.name} asks for the build {version!r} of {library}, which only "
            "conda has: aicore-build installs with pip.\nName the version alone, or a base image "
            "that has the package."
        )
    if not version or version.startswith(("<", ">", "!", "~", "@", "=")):
        return f"{library}{' ' if version.startswith('@') else ''}{version}"
    return f"{library}=={version}"


def image_libraries(steps: Iterable[Step], image: str) -> tuple[str, ...]:
    """The libraries of an image: all packages of the steps that share it.

    Raises:
        FlowError: two of them ask for different versions of one package.
    """
    found: dict[str, tuple[str, Step]] = {}
    for step in steps:
        for library, requirement in step_libraries(step).items():
            other, first = found.setdefault(library.lower(), (requirement, step))
            if other != requirement:
                raise FlowError(
                    f"The steps {first.name} and {step.name} share the image {image}, but ask for "
                    f"different packages: {other} and {requirement}.\n"
                    "Give one of them an image with another tag: @kubernetes(image=…)."
                )
    return tuple(requirement for _, (requirement, _) in sorted(found.items()))


def other_pythons(flow: Flow) -> Iterator[tuple[Step, str]]:
    """The steps whose @pypi or @conda asks for another Python than the flow's, and which."""
    own = flow.python_version.split(".")[:2]
    for step in flow.steps:
        versions = (_python(step.decorators.get(name, {})) for name in PACKAGED_BY)
        version = next((v for v in versions if v and v.split(".")[:2] != own), None)
        if version:
            yield step, version


def _python(attributes: Mapping[str, object]) -> str | None:
    return None if attributes.get("disabled") else str(attributes.get("python") or "") or None
