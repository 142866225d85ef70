"""Start, stop, and whether it runs."""

import os

from tests.sandbox import base_image, debian, engine, environment, services
from tests.sandbox.environment import Sandbox
from tests.sandbox.report import say
from tests.sandbox.state import Store

TOOLS = ("docker-registry", "htpasswd", "skopeo", "umoci")


def start() -> Sandbox:
    """Start what does not run yet; well under a second if all of it does."""
    store = Store.of(os.environ)
    with store.locked():
        if not store.file.exists():
            debian.install(store, TOOLS)
            environment.write_pip_config(store)
        state = store.load()
        for ensure in (
            engine.ensure,
            services.ensure_registry,
            services.ensure_s3,
            base_image.ensure,
        ):
            state = ensure(store, state)
        return environment.sandbox(store, state, os.environ)


def stop() -> None:
    """End what was started; a Docker Engine that ran before is left running."""
    store = Store.of(os.environ)
    with store.locked():
        if not store.file.exists():
            say("not running")
            return
        state = store.load()
        services.end_registry(store, state)
        for name, process in state.processes.items():
            if process.running:
                say(f"ending {name} (pid {process.pid})")
                process.end()
        store.file.unlink()


def current() -> Sandbox | None:
    """The sandbox if all of it runs."""
    store = Store.of(os.environ)
    state = store.load()
    complete = state.base_image is not None and all(p.running for p in state.processes.values())
    if not complete or not engine.answers(state.docker_host):
        return None
    return environment.sandbox(store, state, os.environ)


def is_running() -> bool:
    return current() is not None
