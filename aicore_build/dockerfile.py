"""Environment or dev image → Dockerfile text; and what a Dockerfile starts from."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from aicore_build.plan import Environment
from aicore_build.reference import DigestReference

PACKAGE_HOME = "user/home"
"""Where the prod image has the code package; the folder `user` of its build context."""


def render_dev_dockerfile(environment: Environment, private_files: tuple[str, ...]) -> str:
    """Render the Dockerfile of a dev image.

    Args:
        environment: one without a Dockerfile of its own.
        private_files: names in the build context that pip needs and nobody may find in the image:
            `pip.conf`, `ca-bundle.pem`.
    """
    return _render(
        "dev.Dockerfile.j2",
        base_image=environment.base_image,
        apt_packages=environment.apt_packages,
        private_files=private_files,
    )


def render_prod_dockerfile(
    base_image: DigestReference | str, variables: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Render the Dockerfile of a prod image; its build context has the package under `user/`.

    Args:
        base_image: the dev image.
        variables: what the code package needs in the environment.
    """
    return _render("prod.Dockerfile.j2", base_image=base_image, variables=variables)


def base_images(dockerfile: str) -> tuple[str, ...]:
    """The images that a Dockerfile starts from, but for its own stages and what is an ARG."""
    found, stages = [], {"scratch"}
    pattern = r"^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?"
    for image, stage in re.findall(pattern, dockerfile, re.MULTILINE | re.IGNORECASE):
        if image.lower() not in stages and "$" not in image:
            found.append(image)
        stages.add(stage.lower())
    return tuple(dict.fromkeys(found))


def _render(name: str, **values: object) -> str:
    import jinja2  # takes 50 ms, which `--help` has not  # noqa: PLC0415

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_folder()),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - these are not web pages
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quote"] = shlex.quote
    return environment.get_template(name).render(**values)


def _folder() -> Path:
    """The Dockerfile templates: in a wheel inside the package, in a checkout beside it."""
    inside = Path(__file__).parent / "dockerfiles"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "dockerfiles"
