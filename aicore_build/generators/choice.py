"""Which generator makes a flow's workflow template."""

from pathlib import Path

from aicore_build.features import uses_plugin
from aicore_build.flow import Flow
from aicore_build.generators import Generated, metaflow, sap
from aicore_build.settings import Settings


def generate(
    flow: Flow, settings: Settings, *, embedded: bool, packages: Path | None = None
) -> Generated:
    """Let the generator that the settings name make a workflow template.

    Args:
        flow: with a datastore root.
        settings: name the generator.
        embedded: the commands download no code; it is in the images.
        packages: a folder that takes the code package instead of S3, which then isn't asked.

    Raises:
        StoreError: S3 is not configured, or is what made the generator fail.
        GeneratorError: the generator failed, hung, or wrote what can't be used.
        PackageError: the code package's address can't be told.
    """
    timeout = settings.generator_timeout
    if uses_plugin(flow, settings):
        return sap.generate(flow, embedded=embedded, timeout=timeout, packages=packages)
    return metaflow.generate(
        flow,
        embedded=embedded,
        timeout=timeout,
        packages=packages,
        keep_resources=settings.keep_resources,
    )
