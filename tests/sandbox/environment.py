"""What a program needs to know to use the sandbox."""

import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.sandbox.services import BUCKET, LOOPBACK
from tests.sandbox.state import State, Store

LOCAL = ("localhost", LOOPBACK)
CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE")
SYSTEM_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
INDEX_KEYS = ("index-url", "extra-index-url", "trusted-host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A running sandbox."""

    registry: str
    """`localhost:PORT`, as image names begin."""

    s3_endpoint: str

    bucket: str

    base_image: str
    """As the engine has it; it is not in the registry."""

    docker_host: str | None
    """None if the environment already leads to the engine."""

    folder: Path
    """Logs and data."""

    environment: Mapping[str, str]
    """Variables to add to a process's environment."""

    def exports(self) -> str:
        """The variables as lines for a shell."""
        return "\n".join(
            f"export {name}={shlex.quote(value)}" for name, value in self.environment.items()
        )


def sandbox(store: Store, state: State, environ: Mapping[str, str]) -> Sandbox:
    registry = f"localhost:{state.registry_port}"
    s3_endpoint = f"http://{LOOPBACK}:{state.s3_port}"
    environment = {
        "AICORE_SANDBOX_REGISTRY": registry,
        "METAFLOW_DATASTORE_SYSROOT_S3": f"s3://{BUCKET}/metaflow",
        "METAFLOW_S3_ENDPOINT_URL": s3_endpoint,
        "METAFLOW_USER": "sandbox",
        "AWS_ENDPOINT_URL_S3": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AICORE_BUILD_BUILD_NETWORK": "host",
    }
    if state.docker_host is not None:
        environment["DOCKER_HOST"] = state.docker_host
    for name in ("NO_PROXY", "no_proxy"):
        environment[name] = without_proxy(environ.get(name, ""))
    if bundle := ca_bundle(environ):
        environment["AICORE_BUILD_CA_BUNDLE"] = bundle
    if pip_config_path(store).exists():
        environment["AICORE_BUILD_PIP_CONFIG"] = str(pip_config_path(store))
    return Sandbox(
        registry=registry,
        s3_endpoint=s3_endpoint,
        bucket=BUCKET,
        base_image=str(state.base_image),
        docker_host=state.docker_host,
        folder=store.root,
        environment=environment,
    )


def without_proxy(hosts: str) -> str:
    known = [host.strip() for host in hosts.split(",") if host.strip()]
    return ",".join([*known, *(host for host in LOCAL if host not in known)])


def ca_bundle(environ: Mapping[str, str]) -> str | None:
    """The machine's own certificates, which downloads inside a build need as well."""
    for name in CA_VARIABLES:
        if environ.get(name):
            return environ[name]
    return str(SYSTEM_CA_BUNDLE) if SYSTEM_CA_BUNDLE.exists() else None


def pip_config_path(store: Store) -> Path:
    return store.root / "pip.conf"


def write_pip_config(store: Store) -> None:
    """Hand on the package indexes that the machine's pip is configured with, if any."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    config = pip_config(listed.stdout)
    path = pip_config_path(store)
    if config is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(config, encoding="utf-8")


def pip_config(listed: str) -> str | None:
    """A pip.conf from what `pip config list` prints; None if it names no index that is a URL.

    Indexes in local folders are left out: they do not exist inside a build.
    """
    values: dict[str, str] = {}
    # `:env:`, which overrides the files, is listed before `global` and `install`.
    for line in reversed(listed.splitlines()):
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2]
        if key in INDEX_KEYS:
            words = value.strip("'\"").replace("\\n", " ").split()
            remote = [word for word in words if not word.startswith(("file:", "/", "."))]
            values[key] = "\n  ".join(remote)
    lines = [f"{key} = {values[key]}" for key in INDEX_KEYS if values.get(key)]
    has_index = values.get("index-url") or values.get("extra-index-url")
    return "\n".join(["[global]", *lines, ""]) if has_index else None
