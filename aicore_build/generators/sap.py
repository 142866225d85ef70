"""The generator of the plugin sap-ai-core-metaflow: `python flow.py … argo create --only-json`."""

import json
import re
from pathlib import Path

from aicore_build.errors import GeneratorError
from aicore_build.flow import Flow
from aicore_build.generators import Generated
from aicore_build.generators.call import call_generator
from aicore_build.package import find_package
from aicore_build.parallel import at_once
from aicore_build.workflow import Json

_STAND_IN = Path(__file__).parent / "stand_in"
"""A package `kubernetes` that is loaded when it is used: the generator then takes half the time."""


def generate(
    flow: Flow, *, embedded: bool, timeout: float, packages: Path | None = None
) -> Generated:
    """Let the plugin make the workflow template.

    Args:
        flow: with a datastore root.
        embedded: the commands download no code; it is in the images.
        timeout: seconds.
        packages: a folder that takes the code package instead of S3.

    Raises:
        StoreError: S3 is not configured, or is what made the generator fail.
        GeneratorError: the generator failed, hung, or wrote no workflow template.
        PackageError: the workflow template has not one code package.
    """

    def call(*more: str) -> Json:
        arguments = ["argo", "create", "--only-json", *more]
        return parse_generated(
            call_generator(flow, arguments, timeout=timeout, packages=packages, modules=_STAND_IN)
        )

    if not embedded:
        template = plain = call()
    else:
        # The one for embedded code doesn't say where the code is.
        template, plain = at_once(lambda: call("--embedded"), call)
    return Generated(
        workflow_template=template,
        package=find_package(plain),
        generator="sap-ai-core-metaflow",
        generator_version=str(flow.plugin_version),
    )


def parse_generated(stdout: str) -> Json:
    """Take the workflow template out of what the generator and the flow printed.

    Raises:
        GeneratorError: there is none.
    """
    for start in re.finditer(r'\{\s*"apiVersion"', stdout):
        try:
            document, _ = json.JSONDecoder().raw_decode(stdout, start.start())
        except json.JSONDecodeError:
            continue
        if isinstance(document, dict) and document.get("kind") == "WorkflowTemplate":
            return document
    tail = "\n".join(f"  {line}" for line in stdout.splitlines()[-20:])
    raise GeneratorError(
        f"The generator wrote no workflow template. The end of its output:\n{tail}"
    )
