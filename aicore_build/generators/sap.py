"""The generator of the plugin sap-ai-core-metaflow: `python flow.py … argo create --only-json`."""

import json
import os
import re
from pathlib import Path

from aicore_build import store
from aicore_build.errors import AicoreBuildError, GeneratorError, StoreError
from aicore_build.flow import Flow, metaflow_environment, shorten_traceback
from aicore_build.metaflow_call import put_first_on_path, run_metaflow
from aicore_build.process import ProcessError
from aicore_build.workflow import Json

_STAND_IN = Path(__file__).parent / "stand_in"
"""A package `kubernetes` that is loaded when it is used: the generator then takes half the time."""


def generate(flow: Flow, *, embedded: bool, timeout: float) -> Json:
    """Let the plugin make the workflow template; uploads the code package to S3.

    Args:
        flow: with a datastore root.
        embedded: the commands download no code; it is in the images.
        timeout: seconds.

    Raises:
        StoreError: S3 is not configured, or is what made the generator fail.
        GeneratorError: the generator failed, hung, or wrote no workflow template.
    """
    if flow.datastore_root is None:
        raise StoreError(
            "Metaflow is not configured for S3, where the code package goes.\n"
            "Set METAFLOW_DATASTORE_SYSROOT_S3=s3://bucket/prefix, in the environment or in "
            "~/.metaflowconfig/config.json."
        )
    command = [
        "--datastore=s3",
        "argo",
        "create",
        "--only-json",
        *(["--embedded"] if embedded else []),
    ]
    # Metaflow tries a failing store for more than a minute before it says so.
    environment = {"METAFLOW_S3_RETRY_COUNT": "0", **metaflow_environment(os.environ)}
    put_first_on_path(environment, _STAND_IN)
    try:
        stdout = run_metaflow(flow.call, command, environment=environment, timeout=timeout)
    except ProcessError as error:
        raise _explain(error, flow) from error
    return parse_generated(stdout)


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


def _explain(error: ProcessError, flow: Flow) -> AicoreBuildError:
    """Say why the generator failed; if S3 is why, in the words of S3."""
    said = shorten_traceback(error.stderr, flow.script.parent)
    if error.timed_out or re.search(r"s3|boto|credential", error.stderr, re.IGNORECASE):
        try:
            store.check_bucket(str(flow.datastore_root), flow.s3_endpoint)
        except StoreError as reason:
            return StoreError(f"{reason}\nThe generator said:\n{said}")
    return GeneratorError(f"The generator failed for {flow.script.name}: {error.reason}.\n{said}")
