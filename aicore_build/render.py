"""`aicore-build render`: build contexts as folders, to read or to build by hand."""

import re
import shutil
import tempfile
from pathlib import Path

from aicore_build.context import BuildContext, dev_context, prod_context
from aicore_build.errors import OutputError, RegistryError
from aicore_build.flow import Flow
from aicore_build.generators.choice import generate
from aicore_build.layer import Entry
from aicore_build.plan import ImagePlan, plan_dev_builds
from aicore_build.prod import fetch_package
from aicore_build.progress import Reporter
from aicore_build.reference import ImageReference
from aicore_build.run import make_client, read_and_plan
from aicore_build.settings import Settings


def render(
    script: Path, settings: Settings, reporter: Reporter, folder: Path, *, embed: bool
) -> dict[str, str]:
    """Write the build contexts of a flow's images; return the folder of each image reference.

    Args:
        script: the flow's file.
        settings: as loaded for it.
        reporter: is told of progress.
        folder: gets a folder `dev/…`, and `prod/…`, for each image.
        embed: also the prod images', which needs S3 and the dev images' digests.

    Raises:
        OutputError: a folder can't be written, or is not one of ours.
        RegistryError: a prod image is asked for whose dev image is not there.
    """
    flow, images = read_and_plan(script, settings, reporter)
    if _is_packed(folder.resolve(), flow.script.parent):
        reporter.note(f"Metaflow packs {folder} with the flow: name a folder outside, or hidden.")
    written: dict[str, str] = {}
    for build in plan_dev_builds(images):
        context = dev_context(build.environment, settings)
        path = _free(folder / "dev" / _folder_name(build.images[0].reference), written)
        _write_context(context, path)
        written.update({str(image.reference): str(path) for image in build.images})
        for name in context.private_files:
            reporter.note(f"{name} is not in {path}: copy it there before you build.")
    if embed:
        written.update(_render_prod(flow, images, settings, folder))
    return written


def _render_prod(
    flow: Flow,
    images: tuple[ImagePlan, ...],
    settings: Settings,
    folder: Path,
) -> dict[str, str]:
    client = make_client(settings)
    package = generate(flow, settings, embedded=False).package
    job_tar = fetch_package(package, flow, settings)
    written: dict[str, str] = {}
    for image in images:
        digest = client.find(image.reference)
        if digest is None:
            raise RegistryError(
                f"The dev image {image.reference} is not in its registry.\n"
                "Build and push it first: aicore-build dev."
            )
        base = f"{image.reference.repository}@{digest}"
        reference = image.prod_reference(package.sha1)
        path = _free(folder / "prod" / _folder_name(reference), written)
        _write_context(prod_context(base, job_tar), path)
        written[str(reference)] = str(path)
    return written


def _is_packed(folder: Path, flow_folder: Path) -> bool:
    """Whether Metaflow would take what is in a folder for a part of the flow."""
    if not folder.is_relative_to(flow_folder):
        return False
    return not any(part.startswith(".") for part in folder.relative_to(flow_folder).parts)


def _folder_name(reference: ImageReference) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", str(reference))


def _free(path: Path, written: dict[str, str]) -> Path:
    """The path, or one like it if that is another image's: `a/b` and `a-b` become one name."""
    while str(path) in written.values():
        path = path.with_name(f"{path.name}-2")
    return path


def _write_context(context: BuildContext, path: Path) -> None:
    """Write a folder whole, in place of one that was rendered before."""
    if path.exists() and not (path / context.dockerfile_name).is_file():
        raise OutputError(f"{path} is not a build context: name another folder.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as temporary:
            new, old = Path(temporary) / "new", Path(temporary) / "old"
            new.mkdir()
            with context.entries() as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if entry.name not in context.private_files:
                        _write_entry(entry, new / entry.name)
            (new / context.dockerfile_name).write_text(context.dockerfile, encoding="utf-8")
            if path.exists():
                path.rename(old)
            new.rename(path)
    except OSError as error:
        raise OutputError(f"{path} can't be written: {error.strerror}.") from error


def _write_entry(entry: Entry, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.link:
        path.symlink_to(entry.link)
        return
    if entry.open is None:
        path.mkdir(exist_ok=True)
    else:
        with entry.open() as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)
    path.chmod(entry.mode)
