"""What the stages of one command share."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aicore_build.flow import Flow, read_flow
from aicore_build.hints import hints
from aicore_build.layout import Layout
from aicore_build.plan import ImagePlan, flow_notes, plan_images, unused_settings
from aicore_build.progress import Reporter
from aicore_build.registry import RegistryClient
from aicore_build.settings import Settings

if TYPE_CHECKING:
    from aicore_build.builders.docker import DockerBuilder


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One call of `dev` or `prod`."""

    settings: Settings
    reporter: Reporter
    client: RegistryClient
    docker: Callable[[], "DockerBuilder"]
    """Gives the builder, always the same; what needs no Docker Engine needn't import docker-py."""

    push: bool
    """False leaves images in the engine and writes nothing."""

    force: bool
    """Build also what the registry has already, made from the same."""

    locked: bool
    """Build, push and write nothing: only look what is there."""

    layout: Layout | None
    """Takes the prod images instead of their registry."""


def make_client(settings: Settings) -> RegistryClient:
    """Make the client that the settings describe, without connecting to anything."""
    return RegistryClient(
        ca_bundle=settings.ca_bundle, plain_http=settings.plain_http, jobs=settings.jobs
    )


def make_run(
    settings: Settings,
    reporter: Reporter,
    *,
    push: bool,
    force: bool,
    locked: bool = False,
    push_to: Path | None = None,
) -> Run:
    """Make one, without connecting to anything."""
    client = make_client(settings)

    @functools.cache
    def docker() -> "DockerBuilder":
        from aicore_build.builders.docker import DockerBuilder  # noqa: PLC0415

        return DockerBuilder(settings, client, reporter, push=push)

    return Run(
        settings=settings,
        reporter=reporter,
        client=client,
        docker=docker,
        push=push,
        force=force,
        locked=locked,
        layout=Layout(push_to, client) if push_to else None,
    )


def read_and_plan(
    script: Path, settings: Settings, reporter: Reporter
) -> tuple[Flow, tuple[ImagePlan, ...]]:
    """Read the flow and plan its images; say which settings have no effect on it."""
    flow = read_flow(script, settings.python, settings.metaflow_options)
    images = plan_images(flow, settings)
    for note in all_notes(flow, images, settings):
        reporter.note(note)
    return flow, images


def all_notes(flow: Flow, images: tuple[ImagePlan, ...], settings: Settings) -> tuple[str, ...]:
    """What the user should know of a flow and its settings before anything is done."""
    return (
        *unused_settings(flow, settings),
        *flow_notes(flow, images, settings),
        *hints(flow),
    )
