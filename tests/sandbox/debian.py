"""Debian's packages, for what a bare machine lacks."""

import os
import shutil
import subprocess
from collections.abc import Iterable

from tests.sandbox.report import SandboxError, say
from tests.sandbox.state import Store, is_root

PACKAGES = {
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "dockerd": "docker.io",
    "docker-registry": "docker-registry",
    "htpasswd": "apache2-utils",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "skopeo": "skopeo",
    "umoci": "umoci",
}
"""The package that holds each program."""


def find(program: str) -> str | None:
    """Like `which`, also where root's programs are."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return shutil.which(program, path=path)


def install(store: Store, programs: Iterable[str]) -> None:
    """Install those that are missing if apt and root's rights are at hand; else leave it so."""
    packages = [PACKAGES[program] for program in programs if find(program) is None]
    if not packages or not is_root() or find("apt-get") is None:
        return
    say(f"installing {' '.join(packages)} with apt-get")
    install_command = ["install", "-y", "--no-install-recommends", *packages]
    # A bare machine has no package lists, an old one outdated ones.
    if not _apt_get(store, install_command) and not (
        _apt_get(store, ["update"]) and _apt_get(store, install_command)
    ):
        raise SandboxError(f"apt-get could not install {' '.join(packages)}.", store.log("apt-get"))


def _apt_get(store: Store, arguments: list[str]) -> bool:
    command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *arguments]
    with store.log("apt-get").open("ab") as log:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    return done.returncode == 0
