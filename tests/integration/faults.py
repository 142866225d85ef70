"""A real docker-registry that can be killed, and a proxy before it: injects faults, and counts.

The proxy speaks HTTP/1.1 and listens on loopback only. It is a measuring instrument too: without
rules it passes everything on, and `FaultProxy.seen`, `bytes_up` and `bytes_down` say what went by.
It can also be what HTTP_PROXY or HTTPS_PROXY names; whatever the host, its registry answers.
"""

import contextlib
import hashlib
import json
import os
import re
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Any, Self, assert_never

import pytest

from aicore_build.reference import Repository, TagReference
from aicore_build.registry import (
    DOCKER_MANIFEST,
    OCI_MANIFEST,
    Blob,
    Manifest,
    RegistryClient,
    bytes_blob,
)
from tests.integration.servers import free_port

_PIECE = 256 * 1024
_LONGEST_LINE = 64 * 1024
_MOST_CONNECTIONS = 64
_IDLE = 60
"""Seconds after which a connection that says nothing is closed."""


class RealRegistry:
    """Debian's docker-registry; its store is kept when it is killed."""

    def __init__(self, folder: Path, *, http: str = "", more: str = "") -> None:
        """Make it, without starting it.

        Args:
            folder: for its configuration and store.
            http: further keys under `http`, as YAML on one line: `tls: {…}`.
            more: further sections of the configuration, as YAML.
        """
        self.port = free_port()
        self.address = f"localhost:{self.port}"
        self._config = folder / "registry.yml"
        folder.mkdir(parents=True, exist_ok=True)
        self._config.write_text(
            f"""\
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {folder / "store"}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{self.port}"{f", {http}" if http else ""}}}
{more}
"""
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it; returns when it listens."""
        self._process = subprocess.Popen(
            ["docker-registry", "serve", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(400):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 1),
            ):
                return
            if self._process.poll() is not None:
                pytest.fail(f"docker-registry ended with {self._process.returncode}")
            time.sleep(0.025)
        pytest.fail(f"docker-registry does not listen on port {self.port}")

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def digest_of_whole_image(
        self, path: str, tag: str, headers: Mapping[str, str] | None = None
    ) -> str | None:
        """Read an image without the client under test, every blob of it; None if there is none."""
        accept = {"Accept": f"{OCI_MANIFEST}, {DOCKER_MANIFEST}"}
        raw = self.read(f"{path}/manifests/{tag}", {**(headers or {}), **accept})
        if raw is None:
            return None
        manifest: dict[str, Any] = json.loads(raw)
        for blob in (manifest["config"], *manifest["layers"]):
            content = self.read(f"{path}/blobs/{blob['digest']}", headers)
            assert content is not None, f"{tag} names {blob['digest']}, which is not there"
            assert f"sha256:{hashlib.sha256(content).hexdigest()}" == blob["digest"]
            assert len(content) == blob["size"]
        return f"sha256:{hashlib.sha256(raw).hexdigest()}"

    def read(self, path: str, headers: Mapping[str, str] | None = None) -> bytes | None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v2/{path}", headers=dict(headers or {})
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=20) as response:
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as error:
            with error:
                if error.code == HTTPStatus.NOT_FOUND:
                    return None
                raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A small image that no other test has."""

    layer: Blob
    config: Blob
    manifest: Manifest

    def push(self, client: RegistryClient, target: TagReference) -> None:
        """As `prod` does it, after a look at what is there."""
        client.find(target)
        for blob in (self.layer, self.config):
            client.upload(target.repository, blob)
        client.put_manifest(target, self.manifest)


def make_image(size: int = 100_000) -> Image:
    """Make one with a layer of so many bytes; no container could run it."""
    layer = bytes_blob(os.urandom(size))
    config = bytes_blob(json.dumps({"made-for": uuid.uuid4().hex}).encode())
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
    }
    manifest = Manifest(raw=json.dumps(document).encode(), media_type=OCI_MANIFEST)
    return Image(layer=layer, config=config, manifest=manifest)


def _descriptor(media_type: str, blob: Blob) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": blob.digest, "size": blob.size}


def new_target(host: str) -> TagReference:
    """A tag in a repository that no other test uses."""
    return TagReference(repository=Repository(host=host, path=f"t/{uuid.uuid4().hex}"), tag="v1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Reset the connection within the request's body."""

    after: int = 0
    """Bytes of the body that the registry still gets."""

    then: Callable[[], None] | None = None
    """Is called before the connection is reset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutAnswer:
    """Reset the connection within the answer's body."""

    after: int = 0
    """Bytes of the body that the client still gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Answer instead of the registry, which sees nothing of the request."""

    status: HTTPStatus
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lose:
    """Let the registry take the request, and reset the connection instead of passing the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trickle:
    """Pass the answer on slowly."""

    piece: int
    """Bytes at a time."""

    pause: float
    """Seconds before each piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hang:
    """Take the request and say nothing."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseMount:
    """Do as a registry that can't mount the blob: begin an upload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alter:
    """Change the last byte of the answer's body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Send the client to the same path somewhere else."""

    to: str
    """Like `http://127.0.0.1:4711`."""

    status: HTTPStatus = HTTPStatus.TEMPORARY_REDIRECT


Fault = Cut | CutAnswer | Answer | Lose | Trickle | Hang | RefuseMount | Alter | Redirect


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which requests meet a fault."""

    method: str
    """Regular expression for all of it."""

    path: str
    """Regular expression for a part of the path with its query."""

    fault: Fault

    skip: int = 0
    """How many of those that match are spared first."""

    times: int | None = 1
    """How many meet it after that; None for all."""


@dataclass(slots=True, kw_only=True)
class Seen:
    """A request that came by, and what became of it."""

    method: str
    path: str
    """With its query."""

    headers: Mapping[str, str]
    """Names in lower case."""

    status: int | None = None
    """None where the client got no answer."""

    bytes_up: int = 0
    """From the client, with the head."""

    bytes_down: int = 0
    """To the client, with the head."""


class FaultProxy:
    """Stands before one registry; use it as a context manager."""

    def __init__(self, upstream_port: int, *rules: Rule) -> None:
        """Make it, without listening.

        Args:
            upstream_port: of the registry, on loopback.
            rules: the first one that matches a request and is not used up applies.
        """
        self.upstream_port = upstream_port
        self._lock = threading.Lock()
        self._rules: list[tuple[Rule, list[Seen]]] = []
        self._seen: list[Seen] = []
        self._open: set[socket.socket] = set()
        self._problems: list[BaseException] = []
        self._server = _Server(self)
        self.port: int = self._server.server_address[1]
        self.address = f"localhost:{self.port}"
        self.set(*rules)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join(10)
        if error is None and self._problems:
            raise self._problems[0]

    def set(self, *rules: Rule) -> None:
        """Replace the rules, and forget what was seen."""
        with self._lock:
            self._rules = [(rule, []) for rule in rules]
            self._seen = []

    @property
    def seen(self) -> tuple[Seen, ...]:
        """The requests, in the order of their arrival."""
        with self._lock:
            return tuple(self._seen)

    @property
    def faults(self) -> int:
        """How many requests met a fault."""
        with self._lock:
            return sum(len(met) for _, met in self._rules)

    @property
    def bytes_up(self) -> int:
        """From clients, heads included."""
        return sum(one.bytes_up for one in self.seen)

    @property
    def bytes_down(self) -> int:
        """To clients, heads included."""
        return sum(one.bytes_down for one in self.seen)

    def count(self, method: str, path: str) -> int:
        """How many requests match, as in a rule."""
        return sum(_matches(one, method, path) for one in self.seen)

    def note(self, seen: Seen) -> Fault | None:
        """Note a request; return the fault that it meets."""
        with self._lock:
            self._seen.append(seen)
            for rule, met in self._rules:
                if not _matches(seen, rule.method, rule.path):
                    continue
                before = sum(_matches(one, rule.method, rule.path) for one in self._seen[:-1])
                if before >= rule.skip and (rule.times is None or len(met) < rule.times):
                    met.append(seen)
                    return rule.fault
            return None

    @contextlib.contextmanager
    def holding(self, one: socket.socket) -> Iterator[None]:
        """Shut a socket down when the proxy ends."""
        with self._lock:
            self._open.add(one)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(one)

    def note_problem(self) -> None:
        """A broken connection is what this is about; all else is a bug of the proxy."""
        problem = sys.exception()
        if problem is not None and not isinstance(problem, OSError):
            self._problems.append(problem)


def _matches(seen: Seen, method: str, path: str) -> bool:
    return bool(re.fullmatch(method, seen.method) and re.search(path, seen.path))


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._places = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        self._places.acquire()
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002
        try:
            with self._proxy.holding(request):
                _Connection(self._proxy, request).serve()
        finally:
            self._places.release()

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        request.close()  # without the good-bye of the original: it may be reset already

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002
        self._proxy.note_problem()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    first: str
    """Request line or status line."""

    headers: Mapping[str, str]
    """Names in lower case."""

    raw: bytes

    @classmethod
    def read(cls, stream: BufferedReader) -> "_Head | None":
        """None at the end of the connection."""
        lines: list[bytes] = []
        while (line := stream.readline(_LONGEST_LINE)) not in {b"\r\n", b""}:
            lines.append(line)
        if not lines or not line:
            return None
        text = [line.decode("latin-1").rstrip("\r\n") for line in lines]
        pairs = (line.partition(":") for line in text[1:])
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return cls(first=text[0], headers=headers, raw=b"".join((*lines, b"\r\n")))

    @property
    def status(self) -> int:
        return int(self.first.split()[1])

    def body(self, stream: BufferedReader, *, none: bool = False) -> Iterator[bytes]:
        """What follows, as it is on the wire."""
        if none:
            return
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from _chunked(stream)
        elif "content-length" in self.headers:
            yield from _pieces(stream, int(self.headers["content-length"]))
        elif self.first.startswith("HTTP/"):  # a request has no body then
            while piece := stream.read(_PIECE):
                yield piece


def _pieces(stream: BufferedReader, size: int) -> Iterator[bytes]:
    while size:
        piece = stream.read1(min(size, _PIECE))
        if not piece:
            raise ConnectionError("ended within a body")
        size -= len(piece)
        yield piece


def _chunked(stream: BufferedReader) -> Iterator[bytes]:
    while True:
        line = stream.readline(_LONGEST_LINE)
        yield line
        if not (size := int(line.partition(b";")[0] or b"0", 16)):
            break
        yield from _pieces(stream, size + 2)
    while (line := stream.readline(_LONGEST_LINE)) != b"\r\n":
        yield line
    yield line


class _Connection:
    """One client, and the connection to the registry that belongs to it."""

    def __init__(self, proxy: FaultProxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._registry: socket.socket | None = None

    def serve(self) -> None:
        with contextlib.ExitStack() as stack:
            _prepare(self._client)
            incoming = stack.enter_context(self._client.makefile("rb"))
            try:
                registry = stack.enter_context(
                    socket.create_connection(("127.0.0.1", self._proxy.upstream_port), 5)
                )
                _prepare(registry)
                stack.enter_context(self._proxy.holding(registry))
                outgoing = stack.enter_context(registry.makefile("rb"))
                self._registry = registry
                while self._serve_one(incoming, outgoing):
                    pass
            except OSError:  # the client gets an error too, not a good-bye
                off = struct.pack("ii", 1, 0)
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, off)

    def _serve_one(self, incoming: BufferedReader, outgoing: BufferedReader) -> bool:
        """Pass on a request and its answer; False where the connection ends with it."""
        head = _Head.read(incoming)
        if head is None:
            return False
        method, path, _ = head.first.split(" ")
        seen = Seen(method=method, path=path, headers=head.headers, bytes_up=len(head.raw))
        fault = self._proxy.note(seen)
        if method == "CONNECT":
            self._tunnel(seen)
            return False
        if head.headers.get("expect"):
            self._client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = _counted(head.body(incoming), seen)
        match fault:
            case Answer():
                return self._answer(seen, body, fault)
            case Redirect():
                location = {"Location": fault.to + path}
                return self._answer(seen, body, Answer(status=fault.status, headers=location))
            case Hang():
                time.sleep(fault.seconds)
                raise ConnectionError("as the rule says")
            case Cut():
                self._send_part(head, body, fault)
                raise ConnectionError("as the rule says")
            case RefuseMount():
                without_query = head.raw.replace(path.encode(), path.partition("?")[0].encode(), 1)
                self._send(without_query, body)
            case None | CutAnswer() | Lose() | Trickle() | Alter():
                self._send(head.raw, body)
            case _:
                assert_never(fault)
        return self._pass_answer(seen, outgoing, fault)

    def _tunnel(self, seen: Seen) -> None:
        """Pass everything on, without a look at it."""
        registry = self._registry
        assert registry is not None
        self._give(seen, b"HTTP/1.1 200 OK\r\n\r\n")
        seen.status = HTTPStatus.OK

        def pass_down() -> None:
            with contextlib.suppress(OSError):
                while piece := registry.recv(_PIECE):
                    self._give(seen, piece)
                self._client.shutdown(socket.SHUT_WR)

        down = threading.Thread(target=pass_down, daemon=True)
        down.start()
        with contextlib.suppress(OSError):
            while piece := self._client.recv(_PIECE):
                seen.bytes_up += len(piece)
                registry.sendall(piece)
            registry.shutdown(socket.SHUT_WR)
        down.join(_IDLE)

    def _answer(self, seen: Seen, body: Iterator[bytes], answer: Answer) -> bool:
        for _ in body:
            pass
        headers = {"Content-Length": str(len(answer.body)), **answer.headers}
        lines = [
            f"HTTP/1.1 {answer.status} {answer.status.phrase}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        content = b"" if seen.method == "HEAD" else answer.body
        self._give(seen, "\r\n".join((*lines, "", "")).encode() + content)
        seen.status = answer.status
        return True

    def _send(self, head: bytes, body: Iterator[bytes]) -> None:
        assert self._registry is not None
        self._registry.sendall(head)
        for piece in body:
            self._registry.sendall(piece)

    def _send_part(self, head: _Head, body: Iterator[bytes], cut: Cut) -> None:
        def part() -> Iterator[bytes]:
            left = cut.after
            while left:
                piece = next(body, b"")[:left]
                if not piece:
                    return
                left -= len(piece)
                yield piece

        self._send(head.raw, part())
        if cut.then:
            cut.then()

    def _pass_answer(self, seen: Seen, outgoing: BufferedReader, fault: Fault | None) -> bool:
        answer = _Head.read(outgoing)
        while answer and answer.status == HTTPStatus.CONTINUE:
            answer = _Head.read(outgoing)
        if answer is None:
            raise ConnectionError("the registry gave no answer")
        empty = seen.method == "HEAD" or answer.status in {
            HTTPStatus.NO_CONTENT,
            HTTPStatus.NOT_MODIFIED,
        }
        body = answer.body(outgoing, none=empty)
        if isinstance(fault, Lose):
            for _ in body:
                pass
            raise ConnectionError("as the rule says")
        for piece in _spoilt(body, fault, answer):
            self._give(seen, piece)
        if isinstance(fault, CutAnswer):
            raise ConnectionError("as the rule says")
        seen.status = answer.status
        return answer.headers.get("connection", "").lower() != "close"

    def _give(self, seen: Seen, piece: bytes) -> None:
        self._client.sendall(piece)
        seen.bytes_down += len(piece)


def _spoilt(body: Iterator[bytes], fault: Fault | None, head: _Head) -> Iterator[bytes]:
    """The answer as the client gets it, head first."""
    match fault:
        case CutAnswer():
            yield head.raw
            content = b"".join(body)
            assert len(content) > fault.after, "nothing would be cut off"
            yield content[: fault.after]
        case Alter():
            content = b"".join(body)
            yield head.raw + content[:-1] + bytes([content[-1] ^ 1])
        case Trickle():
            content = head.raw + b"".join(body)
            for start in range(0, len(content), fault.piece):
                time.sleep(fault.pause)
                yield content[start : start + fault.piece]
        case _:
            yield head.raw
            yield from body


def _counted(body: Iterator[bytes], seen: Seen) -> Iterator[bytes]:
    for piece in body:
        seen.bytes_up += len(piece)
        yield piece


def _prepare(one: socket.socket) -> None:
    one.settimeout(_IDLE)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
