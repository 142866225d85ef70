"""What a workflow template has, for several rules."""

import re
from collections.abc import Iterator

from aicore_build.lint.place import Place

KINDS = (
    "container",
    "script",
    "dag",
    "steps",
    "containerSet",
    "resource",
    "suspend",
    "http",
    "data",
    "plugin",
)
"""What a template of Argo can be."""

_METAFLOW = re.compile(r"--datastore[= ]s3\b|\bmetaflow\.mflog\b")


def templates(document: Place) -> Iterator[Place]:
    """All templates, and after each those that its tasks or steps have inline."""
    for template in document["spec"]["templates"].items():
        yield from _with_inline(template)


def _with_inline(template: Place) -> Iterator[Place]:
    yield template
    for task in tasks(template):
        if task["inline"]:
            yield from _with_inline(task["inline"])


def tasks(template: Place) -> Iterator[Place]:
    """The tasks of a template's DAG, or its steps."""
    yield from template["dag"]["tasks"].items()
    for group in step_groups(template):
        yield from group.items()


def step_groups(template: Place) -> Iterator[Place]:
    """The groups of a template's steps; those of one run at the same time."""
    yield from template["steps"].items()


def template_by_name(document: Place, name: str) -> Place | None:
    """The template that a reference names."""
    return document["spec"]["templates"].named(name)


def main_containers(template: Place) -> Iterator[Place]:
    """What a template runs: its container, its script, or the containers of its set."""
    yield from (template[kind] for kind in ("container", "script") if template[kind])
    yield from template["containerSet"]["containers"].items()


def containers(template: Place) -> Iterator[Place]:
    """What a template runs, and what runs before or beside it."""
    yield from main_containers(template)
    yield from template["initContainers"].items()
    yield from template["sidecars"].items()


def runs_pod(template: Place) -> bool:
    """Whether a template has a pod of its own."""
    return next(main_containers(template), None) is not None


def is_metaflow(container: Place) -> bool:
    """Whether a container runs a step of a flow, which reads S3."""
    texts = (*container["command"].items(), *container["args"].items())
    return any(_METAFLOW.search(text.text) for text in texts)


def name_of(place: Place) -> str:
    """The name of a template or container, or where it is."""
    return place["name"].text or "it"


def is_substituted(text: str) -> bool:
    """Whether Argo puts something into a text first."""
    return "{{" in text
