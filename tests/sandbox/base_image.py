"""The image that environments are built on: Docker Hub's, or one like it from Debian's packages."""

import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound

from tests.sandbox import debian, engine
from tests.sandbox.report import SandboxError, say
from tests.sandbox.state import State, Store, is_root

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
NAME = f"python:{PYTHON}-slim"
SUITES = {"3.11": "bookworm"}
"""The Debian release that has this Python."""

INCLUDE = "python3,python3-pip,python3-venv,python-is-python3,ca-certificates"
CHANGES = ('CMD ["python3"]', "ENV LANG=C.UTF-8")


def ensure(store: Store, state: State) -> State:
    with engine.connect(state.docker_host) as client:
        if not _present(client) and not _pull(client):
            _import(client, _archive(store))
    return state if state.base_image == NAME else store.save(replace(state, base_image=NAME))


def _present(client: docker.DockerClient) -> bool:
    try:
        client.images.get(NAME)
    except ImageNotFound:
        return False
    return True


def _pull(client: docker.DockerClient) -> bool:
    repository, _, tag = NAME.partition(":")
    with suppress(DockerException):
        client.images.get_registry_data(NAME)  # soon tells if the registry is out of reach
        say(f"pulling {NAME}")
        client.images.pull(repository, tag)
        return True
    return False


def _archive(store: Store) -> Path:
    """The root file system as a tar, made once."""
    archive = store.root / "images" / f"python-{PYTHON}-slim.tar"
    if archive.exists():
        return archive
    suite = SUITES.get(PYTHON)
    if suite is None:
        raise SandboxError(
            f"{NAME} cannot be pulled, and only Python {', '.join(SUITES)} can be built from "
            "Debian's packages: use that Python, or log in to a registry mirror."
        )
    debian.install(store, ["mmdebstrap"])
    mmdebstrap = debian.find("mmdebstrap")
    if mmdebstrap is None or not is_root():
        raise SandboxError(
            f"{NAME} cannot be pulled, and building it needs root and Debian's mmdebstrap."
        )
    say(f"building {NAME} from Debian's packages: about 40 s")
    archive.parent.mkdir(exist_ok=True)
    draft = archive.with_suffix(".draft")
    log = store.log("mmdebstrap")
    command = [
        mmdebstrap,
        "--variant=minbase",
        "--format=tar",
        f"--include={INCLUDE}",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        # Docker Hub's Python lets pip install: Debian's does not without this.
        f'--customize-hook=rm -f "$1"/usr/lib/python{PYTHON}/EXTERNALLY-MANAGED',
        suite,
        str(draft),
    ]
    with log.open("wb") as output:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        raise SandboxError(f"mmdebstrap could not build {NAME}.", log)
    return draft.replace(archive)


def _import(client: docker.DockerClient, archive: Path) -> None:
    say(f"importing {archive}")
    repository, _, tag = NAME.partition(":")
    answer = client.api.import_image(
        str(archive), repository=repository, tag=tag, changes=list(CHANGES)
    )
    if not _present(client):
        raise SandboxError(f"The engine did not import {archive}: {answer}")
