"""The registry and the S3 server, each on a fixed port of the loopback interface."""

import http.client
import shutil
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from docker.errors import DockerException, NotFound

from tests.sandbox import debian, engine
from tests.sandbox.processes import POLL_SECONDS, spawn, wait_until
from tests.sandbox.report import SandboxError, say
from tests.sandbox.state import State, Store

LOOPBACK = "127.0.0.1"
REGISTRY_PORT = 5000
S3_PORT = 9000
BUCKET = "aicore-build-sandbox"
CONTAINER = "aicore-build-sandbox-registry"
REGISTRY_CONFIG = """\
version: 0.1
log:
  level: warn
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: {folder}
  delete:
    enabled: true
http:
  addr: {address}
"""


def ensure_registry(store: Store, state: State) -> State:
    running = state.registry_container is not None or state.runs("registry")
    if running and state.registry_port and _status(state.registry_port, "GET", "/v2/") == 200:
        return state
    end_registry(store, state)
    port = choose_port(state.registry_port or REGISTRY_PORT, is_free)
    say(f"starting the registry at localhost:{port}")
    binary = debian.find("docker-registry")
    if binary is None:
        return _start_registry_container(store, state, port)
    config = store.root / "registry.yml"
    config.write_text(
        REGISTRY_CONFIG.format(folder=store.root / "registry", address=f"{LOOPBACK}:{port}"),
        encoding="utf-8",
    )
    log = store.log("registry")
    process = spawn([binary, "serve", str(config)], log)
    state = replace(state, registry_port=port, registry_container=None)
    state = store.save(state.with_process("registry", process))
    wait_until(lambda: _status(port, "GET", "/v2/") == 200, process, "The registry", log)
    return state


def end_registry(store: Store, state: State) -> None:
    """End the registry and forget what was pushed."""
    if "registry" in state.processes:
        state.processes["registry"].end()
    shutil.rmtree(store.root / "registry", ignore_errors=True)
    if state.registry_container is not None:
        try:
            with engine.connect(state.docker_host) as client:
                client.containers.get(state.registry_container).remove(force=True, v=True)
        except NotFound:
            pass
        except (DockerException, OSError) as error:
            say(f"could not remove the container {state.registry_container}: {error}")


def _start_registry_container(store: Store, state: State, port: int) -> State:
    """For machines without Debian's package: needs an engine that can pull or has the image."""
    state = store.save(replace(state, registry_port=port, registry_container=CONTAINER))
    try:
        with engine.connect(state.docker_host) as client:
            client.containers.run(
                "registry:2",
                name=CONTAINER,
                detach=True,
                environment={
                    "REGISTRY_STORAGE_DELETE_ENABLED": "true",
                    "REGISTRY_LOG_LEVEL": "warn",
                },
                ports={"5000/tcp": (LOOPBACK, port)},
            )
            deadline = time.monotonic() + 60
            while _status(port, "GET", "/v2/") != 200:
                if time.monotonic() > deadline:
                    logs = client.containers.get(CONTAINER).logs(tail=20).decode()
                    raise SandboxError(f"registry:2 did not answer within 60 s:\n{logs}")
                time.sleep(POLL_SECONDS)
    except DockerException as error:
        raise SandboxError(
            f"There is no docker-registry on this machine, and registry:2 does not run: {error}"
        ) from error
    return state


def ensure_s3(store: Store, state: State) -> State:
    if state.runs("s3") and state.s3_port and _status(state.s3_port, "HEAD", f"/{BUCKET}") == 200:
        return state
    if "s3" in state.processes:
        state.processes["s3"].end()
    port = choose_port(state.s3_port or S3_PORT, is_free)
    say(f"starting the S3 server at http://{LOOPBACK}:{port}")
    log = store.log("s3")
    process = spawn([sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)], log)
    state = store.save(replace(state, s3_port=port).with_process("s3", process))
    wait_until(
        lambda: _status(port, "PUT", f"/{BUCKET}") in (200, 409), process, "The S3 server", log
    )
    return state


def choose_port(first: int, free: Callable[[int], bool]) -> int:
    for port in range(first, first + 100):
        if free(port):
            return port
    raise SandboxError(f"No port from {first} to {first + 99} is free.")


def is_free(port: int) -> bool:
    if _status(port, "GET", "/") is not None:
        return False
    with socket.socket() as listener:
        # As servers do: a connection in TIME_WAIT does not occupy the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _status(port: int, method: str, path: str) -> int | None:
    """None if nothing there speaks HTTP; proxies play no part."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
