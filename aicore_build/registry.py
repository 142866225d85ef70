"""OCI distribution client: what a registry is asked and given, without a Docker Engine.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

import contextlib
import hashlib
import io
import json
import random
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Final, cast

import urllib3

from aicore_build.errors import RegistryError
from aicore_build.reference import Digest, DigestReference, ImageReference, Repository, TagReference
from aicore_build.transport import (
    RETRIES,
    DeniedError,
    Request,
    TransientError,
    Transport,
    problem_of,
    root_cause,
)

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"

# All four are always asked for: without them a registry hides or converts what it has.
_ACCEPT = ", ".join((DOCKER_MANIFEST, OCI_MANIFEST, DOCKER_INDEX, OCI_INDEX))


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest or index as it is stored: its digest is that of these bytes."""

    raw: bytes
    media_type: str

    @property
    def digest(self) -> Digest:
        """Of the bytes."""
        return digest_of(self.raw)

    def parsed(self) -> dict[str, Any]:
        """The document.

        Raises:
            RegistryError: it is none.
        """
        return _document(self.raw, self.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Something to upload: a layer or a config."""

    digest: Digest
    size: int
    open: Callable[[], IO[bytes]]
    """Gives the content from its beginning, each time that it is sent."""


def digest_of(content: bytes) -> Digest:
    """The sha256 of some bytes, as registries write it."""
    return Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")


def bytes_blob(content: bytes) -> Blob:
    """A blob that is in memory."""
    return Blob(digest=digest_of(content), size=len(content), open=lambda: io.BytesIO(content))


class RegistryClient:
    """Talks to registries, from several threads; logs in as `docker` would."""

    def __init__(
        self, *, ca_bundle: Path | None = None, plain_http: tuple[str, ...] = (), jobs: int = 4
    ) -> None:
        """Make it, without connecting.

        Args:
            ca_bundle: certificates to trust beside the system's.
            plain_http: hosts that are spoken to without TLS; loopback always is.
            jobs: how many threads use it at the same time.
        """
        self._ca_bundle = ca_bundle
        self._plain_http = plain_http
        self._jobs = jobs
        self._transports: dict[str, Transport] = {}
        self._lock = threading.Lock()

    def get_manifest(self, reference: ImageReference) -> Manifest | None:
        """Fetch a manifest or index; None where the registry has no such image.

        Raises:
            RegistryError: the registry gave no answer, refused one, or gave other bytes than those
                that the digest names.
        """
        response = self._manifest("GET", reference)
        if response is None:
            return None
        media_type = response.headers.get("Content-Type", "").partition(";")[0]
        manifest = Manifest(raw=response.data, media_type=media_type)
        expected = response.headers.get("Docker-Content-Digest")
        if isinstance(reference, DigestReference):
            expected = reference.digest
        if expected and expected != manifest.digest:
            raise RegistryError(
                f"The registry gave a damaged manifest for {reference}: its digest is "
                f"{manifest.digest}.\nThe registry, or a proxy before it, has to be mended."
            )
        return manifest

    def find(self, reference: ImageReference) -> Digest | None:
        """Ask for an image's digest; None where the registry has no such image.

        Raises:
            RegistryError: the registry gave no answer, or refused one.
        """
        response = self._manifest("HEAD", reference)
        if response is None:
            return None
        if digest := response.headers.get("Docker-Content-Digest"):
            return Digest(digest)
        manifest = self.get_manifest(reference)
        return manifest.digest if manifest else None

    def _manifest(self, method: str, reference: ImageReference) -> urllib3.BaseHTTPResponse | None:
        name = reference.digest if isinstance(reference, DigestReference) else reference.tag
        request = Request(
            method=method,
            url=f"manifests/{name}",
            what=f"look for {reference}",
            headers={"Accept": _ACCEPT},
        )
        response = self._send(request, reference.repository)
        if response.status == HTTPStatus.NOT_FOUND:
            return None
        return _expect(response, HTTPStatus.OK, request)

    def get_document(self, repository: Repository, digest: Digest) -> dict[str, Any]:
        """Fetch a small JSON blob, such as a config, and verify it.

        Raises:
            RegistryError: the registry gave no answer, refused one, or gave other bytes.
        """
        request = _blob_request(repository, digest)
        response = _expect(self._send(request, repository), HTTPStatus.OK, request)
        if digest_of(response.data) != digest:
            raise _damaged(repository, digest)
        return _document(response.data, digest)

    def open_upload(self, repository: Repository) -> str:
        """Begin an upload session and return its address: shows that we may push there.

        Raises:
            RegistryError: the registry gave no answer, or we may not.
        """
        request = _upload_request(repository)
        return _session(self._send(request, repository), request, repository)

    def cancel_upload(self, repository: Repository, session: str) -> None:
        """End an upload session that is not needed, if we may: it ends by itself some time.

        Who may push need not have the right to delete, which registries ask for here.
        """
        request = Request(method="DELETE", url=session, what=f"push to {repository}", retries=0)
        with contextlib.suppress(RegistryError):
            self._send(request, repository)

    def upload(
        self,
        repository: Repository,
        blob: Blob,
        *,
        mount_from: Repository | None = None,
        session: str | None = None,
    ) -> bool:
        """Make sure that a repository has a blob; return whether it had to be sent.

        Args:
            repository: the one that gets it.
            blob: what it gets.
            mount_from: a repository of the same registry that has the blob already.
            session: an upload session to use; None begins one, unless the blob is there.

        Raises:
            RegistryError: the registry gave no answer, refused it, or took other bytes.
        """
        sent = False
        for attempt in range(RETRIES + 1):
            session = session or self._begin_or_mount(repository, blob.digest, mount_from)
            if session is None:
                return sent
            sent, wait = True, 0.0
            try:
                if self._put_blob(repository, blob, session):
                    return True
            except TransientError as error:
                if attempt == RETRIES:
                    raise
                wait = error.wait
            # What was sent is lost with its session, unless only the answer was: ask for that.
            session = mount_from = None
            if attempt < RETRIES:
                time.sleep(wait or 0.1 * 2**attempt + random.uniform(0, 0.1))  # noqa: S311
        raise RegistryError(
            f"Could not push {blob.digest} to {repository}: the registry forgets its uploads.\n"
            "Where several registries answer to one name, they need a store in common."
        )

    def _begin_or_mount(
        self, repository: Repository, digest: Digest, source: Repository | None
    ) -> str | None:
        """Begin an upload session, unless the registry finds the blob in a repository.

        A mount from the repository itself asks whether it has the blob and begins the session if
        not, in one request.
        """
        source = source or repository
        request = _upload_request(repository, {"mount": digest, "from": source.path})
        try:
            response = self._send(request, repository, pull_from=source)
        except DeniedError:
            if source == repository:
                raise
            return self.open_upload(repository)  # what is denied may be to read the source
        if response.status == HTTPStatus.CREATED:
            return None
        if response.status != HTTPStatus.ACCEPTED:  # no registry has to know mounts
            return self.open_upload(repository)
        return _session(response, request, repository)

    def _put_blob(self, repository: Repository, blob: Blob, session: str) -> bool:
        """Send a blob in a session; False if the registry doesn't know the session any more."""
        query = urllib.parse.urlencode({"digest": blob.digest})
        request = Request(
            method="PUT",
            url=f"{session}{'&' if '?' in session else '?'}{query}",
            what=f"push {blob.digest} to {repository}",
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Length": str(blob.size),
            },
            body=blob.open,
            retries=0,
        )
        response = self._send(request, repository)
        if response.status == HTTPStatus.NOT_FOUND or "BLOB_UPLOAD" in problem_of(response):
            return False
        _expect(response, HTTPStatus.CREATED, request)
        return True

    def copy_blob(self, source: Repository, target: Repository, digest: Digest, size: int) -> None:
        """Carry a blob over from another repository: mounted, or sent a piece at a time.

        Raises:
            RegistryError: a registry gave no answer or refused one, or the blob is damaged.
        """
        content = Blob(digest=digest, size=size, open=lambda: self.open_blob(source, digest, size))
        self.upload(target, content, mount_from=source if source.host == target.host else None)

    def open_blob(self, repository: Repository, digest: Digest, size: int) -> IO[bytes]:
        """Open a blob for reading, once; the last piece comes only if all of it is right.

        Raises:
            RegistryError: the registry gave no answer, refused one, or the blob is damaged.
        """
        request = replace(_blob_request(repository, digest), stream=True)
        response = _expect(self._send(request, repository), HTTPStatus.OK, request)
        # It reads like a file, which is all that it is for.
        return cast("IO[bytes]", _BlobStream(response, repository, digest, size))

    def put_manifest(self, reference: TagReference, manifest: Manifest) -> None:
        """Let a tag point to a manifest whose blobs are there.

        Raises:
            RegistryError: the registry gave no answer, refused it, or took other bytes.
        """
        request = Request(
            method="PUT",
            url=f"manifests/{reference.tag}",
            what=f"push {reference}",
            headers={
                "Content-Type": manifest.media_type,
                "Content-Length": str(len(manifest.raw)),
            },
            body=lambda: io.BytesIO(manifest.raw),
        )
        response = self._send(request, reference.repository)
        _expect(response, HTTPStatus.CREATED, request)
        stored = response.headers.get("Docker-Content-Digest") or self.find(reference)
        if stored != manifest.digest:
            raise RegistryError(
                f"{reference} was pushed as {manifest.digest}, but the registry has {stored}.\n"
                "Something between here and the registry changes what is sent."
            )

    def _send(
        self, request: Request, repository: Repository, *, pull_from: Repository | None = None
    ) -> urllib3.BaseHTTPResponse:
        """Send a request on a repository; a path without a leading `/` is one of its own."""
        pushes = request.method not in {"GET", "HEAD"}
        scopes = [f"repository:{repository.path}:{'pull,push' if pushes else 'pull'}"]
        if pull_from and pull_from != repository:
            scopes.append(f"repository:{pull_from.path}:pull")
        own = "://" not in request.url and not request.url.startswith("/")
        url = f"/v2/{repository.path}/{request.url}" if own else request.url
        return self._transport(repository.host).send(
            replace(request, url=url, scopes=tuple(scopes))
        )

    def _transport(self, host: str) -> Transport:
        with self._lock:
            if host not in self._transports:
                self._transports[host] = Transport(
                    host,
                    ca_bundle=self._ca_bundle,
                    plain_http=self._plain_http,
                    sockets=self._jobs,
                )
            return self._transports[host]


def _blob_request(repository: Repository, digest: Digest) -> Request:
    return Request(method="GET", url=f"blobs/{digest}", what=f"read {digest} of {repository}")


def _upload_request(repository: Repository, query: Mapping[str, str] | None = None) -> Request:
    url = f"blobs/uploads/?{urllib.parse.urlencode(query)}" if query else "blobs/uploads/"
    return Request(method="POST", url=url, what=f"push to {repository}")


def _session(response: urllib3.BaseHTTPResponse, request: Request, repository: Repository) -> str:
    location = _expect(response, HTTPStatus.ACCEPTED, request).headers.get("Location")
    if not location:
        raise RegistryError(f"Could not {request.what}: the registry names no place to upload to.")
    return urllib.parse.urljoin(f"/v2/{repository.path}/blobs/uploads/", location)


def _expect(
    response: urllib3.BaseHTTPResponse, status: HTTPStatus, request: Request
) -> urllib3.BaseHTTPResponse:
    if response.status != status:
        raise RegistryError(f"Could not {request.what}: {problem_of(response)}.")
    return response


def _damaged(repository: Repository, digest: Digest) -> RegistryError:
    return RegistryError(
        f"{repository} has a damaged blob: what it gives for {digest} has another digest.\n"
        "Push the image that it belongs to again."
    )


def _document(content: bytes, digest: Digest) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        document = json.loads(content)
        if isinstance(document, dict):
            return document
    raise RegistryError(
        f"What the registry gives for {digest} is no JSON document.\n"
        "Check the registry's address: something else may answer there."
    )


class _BlobStream(io.RawIOBase):
    """A blob on its way to another registry, which never gets the end of a damaged one."""

    def __init__(
        self, response: urllib3.BaseHTTPResponse, source: Repository, digest: Digest, size: int
    ) -> None:
        self._response = response
        self._source = source
        self._digest = digest
        self._left = size
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """Read a piece; the last one only if all of it has the digest."""
        try:
            piece = self._response.read(size, decode_content=False)
        except urllib3.exceptions.HTTPError as error:
            raise TransientError(
                f"Could not read {self._digest} of {self._source} to its end: "
                f"{root_cause(error)}.\nCheck the network and run the command again."
            ) from error
        self._hash.update(piece)
        self._left -= len(piece)
        other_size = self._left < 0 or (self._left > 0 and not piece)
        if other_size or (not self._left and self._digest != f"sha256:{self._hash.hexdigest()}"):
            raise _damaged(self._source, self._digest)
        return piece

    def close(self) -> None:
        """Give up the connection, unless all of it was read."""
        self._response.close()
        super().close()
