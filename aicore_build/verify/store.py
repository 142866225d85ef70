"""Whether the steps reach S3: asked before they run, since Metaflow tries again for minutes."""

from collections.abc import Iterable

from aicore_build.verify.images import Image
from aicore_build.verify.pods import Pod, Pods
from aicore_build.verify.report import Failure
from aicore_build.verify.secrets import Secrets, endpoint_of

_CONNECT = """\
import socket, sys, urllib.parse, urllib.request

address = urllib.parse.urlsplit(sys.argv[1])
if not address.hostname:
    sys.exit("it is no address such as https://host:port")
port = address.port or (443 if address.scheme == "https" else 80)
proxied = address.scheme in urllib.request.getproxies()
if not proxied or urllib.request.proxy_bypass(address.hostname):
    try:
        socket.create_connection((address.hostname, port), 10).close()
    except OSError as error:
        sys.exit(str(error))
"""
"""Runs in an image; says why, where it can't connect."""

_TIMEOUT = 60
"""Seconds."""


def check_store(
    images: Iterable[Image], pods: Pods, secrets: Secrets, network: str
) -> Failure | None:
    """Connect to each endpoint of S3 that steps are given, from the image and network of one.

    Args:
        images: that have a Python.
        pods: runs the containers that connect.
        secrets: by name, what is in those that the steps need.
        network: of the steps.
    """
    asked = set()
    for image in images:
        for step in image.steps:
            given = {k: v for name in step.needed_secrets for k, v in secrets[name].items()}
            endpoint = endpoint_of(given)
            if endpoint is None or endpoint in asked:
                continue
            asked.add(endpoint)
            ended = pods.run(
                Pod(
                    name=step.name,
                    image=image.id,
                    command=("python",),
                    args=("-c", _CONNECT, endpoint),
                    environment=given,
                    network=network,
                    writable=None,
                    deadline=_TIMEOUT,
                )
            )
            if ended.exit_code != 0:
                return Failure(
                    subject=step.name,
                    cause=f"S3 can't be reached at {endpoint}.",
                    fix="Check the endpoint in the object store's secret, and that the store runs. "
                    "--network names the Docker network from which it is reached.",
                    tail=tuple(ended.output.splitlines()[-1:]),
                )
    return None
