"""An OCI image layout: a folder that holds images as a registry does, to carry them over by hand.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import collections
import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

from aicore_build.errors import OutputError, RegistryError, SettingsError
from aicore_build.reference import Digest, DigestReference, ImageReference, Repository, TagReference
from aicore_build.registry import Blob, Manifest, RegistryClient, bytes_blob, digest_of
from aicore_build.result import write_whole
from aicore_build.transport import RETRIES, TransientError

Json = dict[str, Any]

_SCHEME: Final = "oci:"
_NAME: Final = "org.opencontainers.image.ref.name"
_MARK: Final = '{"imageLayoutVersion":"1.0.0"}'
_PIECE: Final = 1024 * 1024


def layout_folder(text: str) -> Path:
    """The folder that `oci:DIR` names.

    Raises:
        SettingsError: it names none.
    """
    folder = text.removeprefix(_SCHEME)
    if not text.startswith(_SCHEME) or not folder or ":" in folder:
        raise SettingsError(
            f"--push-to is {text!r}, but has to be oci: and a folder, for example oci:images.\n"
            "The folder's name has no ':', and no image reference follows: each image is written "
            "under its own."
        )
    return Path(folder).expanduser().absolute()


class Layout:
    """Is given images by several threads; each is written once, and whole or not at all."""

    def __init__(self, folder: Path, client: RegistryClient) -> None:
        """Make it, without writing anything.

        Args:
            folder: where it is, or is to be.
            client: reads the layers of base images.
        """
        self.folder = folder
        self._client = client
        self._lock = threading.Lock()
        self._writing: dict[Digest, threading.Lock] = collections.defaultdict(threading.Lock)

    def check(self) -> None:
        """Refuse a folder that holds something else.

        Raises:
            SettingsError: it does.
            OutputError: it can't be read.
        """
        with self._explained():
            if not self.folder.exists() or (self.folder / "oci-layout").is_file():
                return
            if not self.folder.is_dir() or any(self.folder.iterdir()):
                raise SettingsError(
                    f"{self.folder} is no OCI image layout, and not empty.\n"
                    "Name another folder with --push-to."
                )

    def __enter__(self) -> Self:
        self.check()
        with self._explained():
            self._blobs.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / "oci-layout", _MARK)
            self._unfinished = tempfile.TemporaryDirectory(
                dir=self.folder, prefix=".aicore-build-", ignore_cleanup_errors=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._unfinished.cleanup()

    @property
    def _blobs(self) -> Path:
        return self.folder / "blobs" / "sha256"

    def _path(self, digest: Digest) -> Path:
        return self._blobs / digest.removeprefix("sha256:")

    def get_manifest(self, reference: ImageReference) -> Manifest | None:
        """Read an image's manifest; None where there is no such image, or not all of it.

        Raises:
            RegistryError: the layout is damaged.
            OutputError: it can't be read.
        """
        found = [d for d in self._index()["manifests"] if _name_of(d) == str(reference)]
        if isinstance(reference, DigestReference) or not found:
            return None
        digest = Digest(found[0]["digest"])
        if not self._has(digest, found[0].get("size", -1)):
            return None
        manifest = Manifest(raw=self._read(digest), media_type=found[0].get("mediaType", ""))
        document = manifest.parsed()
        parts = [document["config"], *document["layers"]] if "config" in document else []
        whole = all(self._has(Digest(part["digest"]), part["size"]) for part in parts)
        return manifest if whole else None

    def get_document(self, repository: Repository, digest: Digest) -> Json:  # noqa: ARG002
        """Read a small JSON blob, such as a config, and verify it.

        Raises:
            RegistryError: the layout is damaged.
            OutputError: it can't be read.
        """
        return Manifest(raw=self._read(digest), media_type="").parsed()

    def upload(
        self,
        repository: Repository,  # noqa: ARG002 - repositories have their blobs in common
        blob: Blob,
        *,
        mount_from: Repository | None = None,  # noqa: ARG002
        session: str | None = None,  # noqa: ARG002
    ) -> bool:
        """Make sure that a blob is there; return whether it had to be written.

        Raises:
            RegistryError: what was read is not what the digest names, or can't be read.
            OutputError: it can't be written.
        """
        with self._lock:
            writing = self._writing[blob.digest]
        with writing:
            if self._has(blob.digest, blob.size):
                return False
            for attempt in range(RETRIES):
                try:
                    self._write(blob)
                except TransientError as error:
                    time.sleep(error.wait or 0.1 * 2**attempt)
                else:
                    return True
            self._write(blob)
            return True

    def copy_blob(self, source: Repository, target: Repository, digest: Digest, size: int) -> None:
        """Fetch a blob from a registry, unless it is there.

        Raises:
            RegistryError: the registry gave no answer or refused one, or the blob is damaged.
            OutputError: it can't be written.
        """
        content = Blob(
            digest=digest,
            size=size,
            open=lambda: self._client.open_blob(source, digest, size),
        )
        self.upload(target, content)

    def put_manifest(self, reference: TagReference, manifest: Manifest) -> None:
        """Let a reference name a manifest whose blobs are there.

        Raises:
            RegistryError: the layout is damaged.
            OutputError: it can't be written.
        """
        self.upload(reference.repository, bytes_blob(manifest.raw))
        descriptor = {
            "mediaType": manifest.media_type,
            "digest": manifest.digest,
            "size": len(manifest.raw),
            "annotations": {_NAME: str(reference)},
        }
        with self._alone():
            index = self._index()
            others = [d for d in index["manifests"] if _name_of(d) != str(reference)]
            index["manifests"] = sorted([*others, descriptor], key=_name_of)
            write_whole(self.folder / "index.json", json.dumps(index, indent=2) + "\n")

    def _has(self, digest: Digest, size: int) -> bool:
        path = self._path(digest)
        with self._explained():
            return path.is_file() and path.stat().st_size == size

    def _read(self, digest: Digest) -> bytes:
        with self._explained():
            content = self._path(digest).read_bytes()
        if digest_of(content) != digest:
            raise self._damaged(f"blobs/sha256/{self._path(digest).name} has another digest")
        return content

    def _write(self, blob: Blob) -> None:
        unfinished = Path(self._unfinished.name) / self._path(blob.digest).name
        found = hashlib.sha256()
        with (
            self._explained(),
            unfinished.open("wb") as file,
            contextlib.closing(blob.open()) as source,
        ):
            while piece := source.read(_PIECE):
                found.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())  # of what is there once, only the size is compared again
        if blob.digest != f"sha256:{found.hexdigest()}":
            raise RegistryError(
                f"What was read for {blob.digest} has another digest.\nRun the command again."
            )
        with self._explained():
            unfinished.replace(self._path(blob.digest))

    def _index(self) -> Json:
        path = self.folder / "index.json"
        with self._explained():
            if not path.is_file():
                return {"schemaVersion": 2, "manifests": []}
            text = path.read_bytes()
        try:
            index: Json = json.loads(text)
            if all(isinstance(descriptor["digest"], str) for descriptor in index["manifests"]):
                return index
        except (ValueError, KeyError, TypeError):
            pass
        raise self._damaged("its index.json is no index")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads, and other runs, from changing the index."""
        with self._lock, self._explained():
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                yield
            finally:
                os.close(folder)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"The images can't be written to {self.folder}: {error.strerror or error}.\n"
                "Mend it, or name another folder with --push-to."
            ) from error

    def _damaged(self, why: str) -> RegistryError:
        return RegistryError(
            f"The OCI image layout {self.folder} is damaged: {why}.\n"
            "Remove the folder and run the command again."
        )


def _name_of(descriptor: Json) -> str:
    return str((descriptor.get("annotations") or {}).get(_NAME, ""))
