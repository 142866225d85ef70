"""Images by the registry alone: a layer is put on top of what is there, and nothing is pulled."""

import contextlib
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol, Self

from aicore_build.builders import Embedding, Made
from aicore_build.dockerfile import PACKAGE_HOME
from aicore_build.embed import (
    Json,
    as_oci,
    check_type,
    choose_platform,
    extend_config,
    extend_manifest,
    is_index,
)
from aicore_build.errors import RegistryError
from aicore_build.layer import Layer, write_layer
from aicore_build.layout import Layout
from aicore_build.package import needed_variables, package_entries
from aicore_build.parallel import at_once
from aicore_build.progress import DONE, Reporter
from aicore_build.record import LABEL, render_inputs
from aicore_build.reference import Digest, DigestReference, Repository, TagReference
from aicore_build.registry import Blob, Manifest, RegistryClient


class Target(Protocol):
    """Where prod images go: a registry, or a folder."""

    def upload(
        self,
        repository: Repository,
        blob: Blob,
        *,
        mount_from: Repository | None = None,
        session: str | None = None,
    ) -> bool:
        """Make sure that a blob is there; return whether it had to be sent."""

    def copy_blob(self, source: Repository, target: Repository, digest: Digest, size: int) -> None:
        """Carry a blob over from a registry."""

    def put_manifest(self, reference: TagReference, manifest: Manifest) -> None:
        """Let a tag point to a manifest whose blobs are there."""


class RegistryBuilder:
    """Embeds a code package by a few requests, whatever the size of the image below."""

    def __init__(
        self,
        client: RegistryClient,
        reporter: Reporter,
        *,
        platform: str,
        created: str,
        revision: str | None,
        sessions: Mapping[Repository, str],
        layout: Layout | None = None,
    ) -> None:
        """Make a builder for one code package; use it as a context manager.

        Args:
            client: talks to the registries.
            reporter: is told of progress.
            platform: is chosen where an image is there for several.
            created: what the images say of when they were made.
            revision: the git commit of the flow.
            sessions: upload sessions that are open, to use one of for each repository.
            layout: takes the images instead of their registry.
        """
        self._client = client
        self._target: Target = layout or client
        self._layout = layout
        self._reporter = reporter
        self._platform = platform
        self._created = created
        self._revision = revision
        self._sessions = dict(sessions)
        self._lock = threading.Lock()
        self._made: tuple[Layer, dict[str, str]] | None = None
        self._uploads: dict[str, Future[Repository]] = {}
        """By host: the repository that got the layer first; the others mount it from there."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="aicore-build-")
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()
        for repository, session in self._sessions.items():  # of images that were up to date
            with contextlib.suppress(RegistryError):
                self._client.cancel_upload(repository, session)

    def embed(self, embedding: Embedding) -> Made:
        """Put the package's layer on top of the dev image, in the registry.

        Raises:
            RegistryError: the registry gave no answer, refused one, or has a base image that
                can't be embedded into.
        """
        name, target = str(embedding.target), embedding.target
        self._reporter.phase(name, "embedding")
        # Requests wait for the network, and the layer for the processor.
        (layer, variables), (base, base_config) = at_once(
            lambda: self._make_layer(embedding.package), lambda: self._base(embedding)
        )
        labels = {**self._annotations(embedding), LABEL: render_inputs(embedding.inputs)}
        config = extend_config(base_config, layer, labels, self._created, variables)
        at_once(
            lambda: self._bring_base(base, embedding.base.reference.repository, target.repository),
            lambda: self._bring_layer(layer, target.repository),
            lambda: self._bring_config(config, target.repository),
        )
        manifest = extend_manifest(base, config, layer, self._annotations(embedding))
        self._target.put_manifest(target, manifest)
        self._reporter.phase(name, f"{DONE}: {manifest.digest}")
        return Made(digest=manifest.digest, image_id=None)

    def _base(self, embedding: Embedding) -> tuple[Manifest, Json]:
        """The manifest and the config of the dev image."""
        reference = embedding.base.reference
        manifest = embedding.base.manifest
        if manifest is None:
            pinned = embedding.base.pinned
            manifest = self._client.get_manifest(pinned) if pinned else None
        if manifest and is_index(manifest):
            digest = choose_platform(manifest, self._platform, reference)
            child = DigestReference(repository=reference.repository, digest=digest)
            manifest = self._client.get_manifest(child)
        if manifest is None:
            raise RegistryError(
                f"The dev image {reference} is not in its registry any more.\n"
                "Build and push it: aicore-build dev."
            )
        check_type(manifest, reference)
        if self._layout:
            manifest = as_oci(manifest)
        digest = Digest(manifest.parsed()["config"]["digest"])
        return manifest, self._client.get_document(reference.repository, digest)

    def _make_layer(self, package: Path) -> tuple[Layer, dict[str, str]]:
        """Once for all images: the layer, and what its files need in the environment."""
        with self._lock:
            if self._made is None:
                path = Path(self._folder.name) / "layer.tar.gz"
                with package_entries(package, PACKAGE_HOME) as entries:
                    layer = write_layer(path, entries)
                self._made = layer, needed_variables(package, PACKAGE_HOME)
            return self._made

    def _annotations(self, embedding: Embedding) -> dict[str, str]:
        """https://github.com/opencontainers/image-spec/blob/main/annotations.md."""
        prefix = "org.opencontainers.image"
        annotations = {
            f"{prefix}.base.name": str(embedding.base.reference),
            f"{prefix}.base.digest": str(embedding.base.digest),
            f"{prefix}.created": self._created,
        }
        if self._revision:
            annotations[f"{prefix}.revision"] = self._revision
        return annotations

    def _bring_base(self, base: Manifest, source: Repository, target: Repository) -> None:
        """Make sure that the target has the layers of the base image."""
        if source == target and not self._layout:
            return
        layers = base.parsed()["layers"]
        if self._layout or source.host != target.host:
            size = sum(layer["size"] for layer in layers)
            where = f"in another registry than {target}"
            if self._layout:
                where = f"not in {self._layout.folder}"
            self._reporter.note(
                f"{source} is {where}: up to {size / 1e6:.1f} MB of base layers are copied."
            )
        for layer in layers:
            self._target.copy_blob(source, target, Digest(layer["digest"]), layer["size"])

    def _bring_config(self, config: Blob, target: Repository) -> None:
        with self._lock:
            session = self._sessions.pop(target, None)
        self._target.upload(target, config, session=session)

    def _bring_layer(self, layer: Layer, target: Repository) -> None:
        """Upload the layer, once a registry; into its other repositories it is mounted."""
        blob = Blob(digest=layer.digest, size=layer.size, open=lambda: layer.path.open("rb"))
        with self._lock:
            first = target.host not in self._uploads
            upload = self._uploads.setdefault(target.host, Future())
        if not first:
            source = upload.result()
            # Where it is already, a mount writes the registry's link to it anew: docker-registry
            # 2.8 then refuses a manifest that is put at that moment.
            if source != target:
                self._target.upload(target, blob, mount_from=source)
            return
        try:
            self._target.upload(target, blob)
        except BaseException as error:
            upload.set_exception(error)
            raise
        upload.set_result(target)


def git_revision(folder: Path) -> str | None:
    """The commit that is checked out where the flow is; None where there is no git."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
