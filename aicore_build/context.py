"""Build contexts: a Dockerfile and the files that it copies."""

import contextlib
import stat
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from aicore_build.dockerfile import (
    PACKAGE_HOME,
    render_dev_dockerfile,
    render_prod_dockerfile,
)
from aicore_build.errors import SettingsError
from aicore_build.layer import Entry, text_entry
from aicore_build.package import needed_variables, package_entries
from aicore_build.plan import Environment
from aicore_build.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """All that a builder is given."""

    dockerfile: str

    entries: Callable[[], AbstractContextManager[Iterable[Entry]]]
    """The files beside the Dockerfile, open while in use."""

    dockerfile_name: str = "Dockerfile"

    private_files: tuple[str, ...] = ()
    """Names of entries that hold secrets: never written to disk."""


def dev_context(environment: Environment, settings: Settings) -> BuildContext:
    """The build context of a dev image.

    Raises:
        SettingsError: a file that the settings name can't be read.
    """
    if environment.dockerfile:
        return _own_context(environment.dockerfile)
    private = {"pip.conf": settings.pip_config, "ca-bundle.pem": settings.ca_bundle}
    private_files = tuple(name for name, path in private.items() if path)
    requirements = "".join(f"{line}\n" for line in environment.requirements)

    def entries() -> list[Entry]:
        files = [text_entry("requirements.txt", requirements)]
        return files + [
            text_entry(name, path.read_bytes(), mode=0o600)
            for name, path in private.items()
            if path
        ]

    return BuildContext(
        dockerfile=render_dev_dockerfile(environment, private_files),
        entries=lambda: contextlib.nullcontext(entries()),
        private_files=private_files,
    )


def prod_context(base_image: str, package: Path) -> BuildContext:
    """The build context of a prod image.

    Args:
        base_image: the dev image, by digest or ID.
        package: the code package's file, checked.
    """
    return BuildContext(
        dockerfile=render_prod_dockerfile(base_image, needed_variables(package, PACKAGE_HOME)),
        entries=lambda: package_entries(package, PACKAGE_HOME),
    )


def _own_context(dockerfile: Path) -> BuildContext:
    """The user's own Dockerfile; its folder is the context, less what `.dockerignore` names."""
    try:
        text = dockerfile.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The Dockerfile {dockerfile} can't be read: {error}.") from error
    return BuildContext(
        dockerfile=text,
        entries=lambda: contextlib.nullcontext(_folder_entries(dockerfile)),
        dockerfile_name=dockerfile.name,
    )


def _folder_entries(dockerfile: Path) -> list[Entry]:
    from docker.utils import exclude_paths  # docker's own reading of .dockerignore  # noqa: PLC0415

    folder = dockerfile.parent
    ignore = folder / ".dockerignore"
    lines = ignore.read_text(encoding="utf-8").splitlines() if ignore.is_file() else []
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    names = exclude_paths(str(folder), patterns, dockerfile=dockerfile.name)
    return [_disk_entry(folder / name, name) for name in names]


def _disk_entry(path: Path, name: str) -> Entry:
    found = path.lstat()
    is_file = stat.S_ISREG(found.st_mode)
    return Entry(
        name=Path(name).as_posix(),
        mode=stat.S_IMODE(found.st_mode),
        open=(lambda: path.open("rb")) if is_file else None,
        link=str(path.readlink()) if path.is_symlink() else "",
        size=found.st_size if is_file else 0,
    )
