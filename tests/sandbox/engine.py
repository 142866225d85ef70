"""The Docker Engine: the machine's if one answers, else one of our own."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import docker
from docker.context import ContextAPI
from docker.errors import DockerException

from tests.sandbox import debian
from tests.sandbox.processes import identify, spawn, wait_until
from tests.sandbox.report import SandboxError, say
from tests.sandbox.state import State, Store, is_root

DEFAULT_HOST = "unix:///var/run/docker.sock"
SOCKET_PATH_LIMIT = 107  # bytes in a unix socket's address, less the final NUL


@contextmanager
def connect(docker_host: str | None) -> Iterator[docker.DockerClient]:
    """Raises DockerException if the engine does not answer."""
    client = docker.DockerClient(docker_host) if docker_host else docker.from_env()
    try:
        client.ping()
        yield client
    finally:
        client.close()


def answers(docker_host: str | None) -> bool:
    if not _listens(docker_host or _host_of_environment()):
        return False
    try:
        with connect(docker_host):
            return True
    except (DockerException, OSError):
        return False


def _host_of_environment() -> str:
    """Where `docker.from_env` connects to."""
    if host := os.environ.get("DOCKER_HOST"):
        return host
    context = ContextAPI.get_context(os.environ.get("DOCKER_CONTEXT"))
    return (context and context.Host) or DEFAULT_HOST


def _listens(docker_host: str) -> bool:
    """False for a dead unix socket, on which docker-py would leak its own."""
    scheme, _, path = docker_host.partition("://")
    if scheme != "unix":
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def ensure(store: Store, state: State) -> State:
    if state.docker_host is not None and answers(state.docker_host):
        return state
    found = _of_the_machine(store, state)
    if found is None:
        debian.install(store, ["dockerd", "iptables"])
        found = _of_the_machine(store, state)  # the package may have started one
    return found or _start(store, state)


def _of_the_machine(store: Store, state: State) -> State | None:
    for docker_host in (None, DEFAULT_HOST):
        if answers(docker_host):
            return store.save(replace(state, docker_host=docker_host))
    return None


def _start(store: Store, state: State) -> State:
    dockerd = debian.find("dockerd")
    if dockerd is None or not is_root():
        raise SandboxError(
            "No Docker Engine answers, and only root can install and start one.\n"
            "Start Docker, or set DOCKER_HOST to an engine that runs on this machine."
        )
    for leftover in ("dockerd", "containerd"):
        if leftover in state.processes:
            state.processes[leftover].end()
    docker_socket = store.root / "docker.sock"
    pidfile = store.root / "dockerd.pid"
    containerd_socket = store.root / "exec" / "containerd" / "containerd.sock.ttrpc"
    if len(bytes(containerd_socket)) > SOCKET_PATH_LIMIT:
        raise SandboxError(
            f"{store.root} is too long a path for Docker's sockets: set XDG_CACHE_HOME to a "
            "shorter one."
        )
    settings = {
        "data-root": str(store.root / "engine"),
        "exec-root": str(store.root / "exec"),
        "pidfile": str(pidfile),
        "hosts": [f"unix://{docker_socket}"],
    }
    # A file of our own: the machine's /etc/docker/daemon.json may name other hosts.
    config = store.root / "dockerd.json"
    config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    # A pid file that a crash left may name a zombie or another's process by now.
    for stale in (docker_socket, pidfile, _containerd_pidfile(store)):
        stale.unlink(missing_ok=True)
    say("starting a Docker Engine")
    log = store.log("dockerd")
    process = spawn([dockerd, "--config-file", str(config)], log)
    state = replace(state, docker_host=f"unix://{docker_socket}").with_process("dockerd", process)
    store.save(state)
    wait_until(lambda: answers(state.docker_host), process, "The Docker Engine", log)
    return store.save(_with_containerd(store, state))


def _containerd_pidfile(store: Store) -> Path:
    return store.root / "exec" / "containerd" / "containerd.pid"


def _with_containerd(store: Store, state: State) -> State:
    """Record the engine's own child, which stays behind if the engine is killed."""
    try:
        pid = int(_containerd_pidfile(store).read_text(encoding="ascii"))
    except FileNotFoundError:
        return state  # the machine's containerd is in use
    process = identify(pid)
    return state if process is None else state.with_process("containerd", process)
