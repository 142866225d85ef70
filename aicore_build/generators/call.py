"""What the generators share: a call of the flow's own file, and why it failed."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from aicore_build import store
from aicore_build.errors import AicoreBuildError, GeneratorError, StoreError
from aicore_build.flow import Flow, metaflow_environment, shorten_traceback
from aicore_build.metaflow_call import put_first_on_path, run_metaflow
from aicore_build.process import ProcessError

_NO_RETRIES = {"METAFLOW_S3_RETRY_COUNT": "0", "METAFLOW_S3_TRANSIENT_RETRY_COUNT": "0"}
"""Metaflow tries a store that can't be reached for minutes before it says so."""


def call_generator(
    flow: Flow,
    arguments: Sequence[str],
    *,
    timeout: float,
    packages: Path | None,
    variables: Mapping[str, str] | None = None,
    modules: Path | None = None,
) -> str:
    """Run `python flow.py --datastore=s3 …` in the flow's own Python; return its stdout.

    Args:
        flow: with a datastore root.
        arguments: the sub-command and its options.
        timeout: seconds.
        packages: a folder that takes the code package instead of S3.
        variables: of the environment, besides ours.
        modules: a folder where modules are looked for before all others.

    Raises:
        StoreError: S3 is not configured, or is what made the call fail.
        GeneratorError: the call failed or hung.
    """
    if flow.datastore_root is None:
        raise StoreError(
            "Metaflow is not configured for S3, where the code package goes.\n"
            "Set METAFLOW_DATASTORE_SYSROOT_S3=s3://bucket/prefix, in the environment or in "
            "~/.metaflowconfig/config.json."
        )
    environment = {**_NO_RETRIES, **metaflow_environment(os.environ)}
    environment |= variables or {}
    if modules:
        put_first_on_path(environment, modules)
    call = replace(flow.call, packages=packages)
    try:
        return run_metaflow(
            call, ["--datastore=s3", *arguments], environment=environment, timeout=timeout
        )
    except ProcessError as error:
        raise _explain(error, flow, offline=packages is not None) from error


def _explain(error: ProcessError, flow: Flow, *, offline: bool) -> AicoreBuildError:
    """Say why the generator failed; if S3 is why, in the words of S3."""
    said = shorten_traceback(error.stderr, flow.script.parent)
    s3 = re.search(r"s3|boto|credential", error.stderr, re.IGNORECASE)
    if not offline and (error.timed_out or s3):
        try:
            store.check_bucket(str(flow.datastore_root), flow.s3_endpoint)
        except StoreError as reason:
            return StoreError(f"{reason}\nThe generator said:\n{said}")
    return GeneratorError(f"The generator failed for {flow.script.name}: {error.reason}.\n{said}")
