"""Upstream Metaflow's own generator: `python flow.py … argo-workflows create --only-json`."""

import json
import tempfile
from pathlib import Path

from aicore_build.errors import GeneratorError
from aicore_build.flow import Flow
from aicore_build.generators import Generated
from aicore_build.generators.bootstrap import cut_download
from aicore_build.generators.call import call_generator
from aicore_build.generators.neutral import TOKEN, make_neutral
from aicore_build.package import find_package
from aicore_build.workflow import Json

_VARIABLES = {
    "METAFLOW_KUBERNETES_NAMESPACE": "",
    # What is only of this machine, or even secret, and would get into every container.
    "METAFLOW_ARGO_WORKFLOWS_ENV_VARS_TO_SKIP": "METAFLOW_S3_ENDPOINT_URL,METAFLOW_SERVICE_HEADERS",
}

_OPTIONS = (
    "--only-json",
    # SAP AI Core has no events, and its workflow templates no exit handlers.
    "--no-enable-error-msg-capture",
    "--no-auto-emit-argo-events",
    "--no-enable-heartbeat-daemon",
)


def generate(
    flow: Flow,
    *,
    embedded: bool,
    timeout: float,
    packages: Path | None = None,
    keep_resources: bool = False,
) -> Generated:
    """Let Metaflow make the workflow template, without a cluster; make it fit for SAP AI Core.

    Args:
        flow: with a datastore root.
        embedded: the commands download no code; it is in the images.
        timeout: seconds.
        packages: a folder that takes the code package instead of S3.
        keep_resources: keep the containers' requests of cpu and memory.

    Raises:
        StoreError: S3 is not configured, or is what made the generator fail.
        GeneratorError: the generator failed, hung, or wrote what can't be used.
        PackageError: the workflow template has not one code package.
    """
    generated = make_neutral(
        _call(flow, timeout, packages), flow.name, keep_resources=keep_resources
    )
    package = find_package(generated)
    return Generated(
        workflow_template=cut_download(generated) if embedded else generated,
        package=package,
        generator="metaflow",
        generator_version=flow.metaflow_version,
    )


def _call(flow: Flow, timeout: float, packages: Path | None) -> Json:
    token = ["--generate-new-token"] if "project" in flow.decorators else ["--new-token", TOKEN]
    with tempfile.TemporaryDirectory(prefix="aicore-build-") as folder:
        # A file, since what the flow prints when it is imported goes to stdout, too.
        out = Path(folder) / "workflow-template.json"
        arguments = ["argo-workflows", "create", *_OPTIONS, *token]
        arguments += ["--deployer-attribute-file", str(out)]
        call_generator(flow, arguments, timeout=timeout, packages=packages, variables=_VARIABLES)
        try:
            document = json.loads(out.read_text(encoding="utf-8"))
            template: Json = document["additional_info"]["workflow_template"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise GeneratorError(
                f"Metaflow {flow.metaflow_version} wrote no workflow template that aicore-build "
                f"can read ({type(error).__name__}: {error}).\n"
                "It may be newer than what aicore-build knows: please report this with its version."
            ) from error
    return template
