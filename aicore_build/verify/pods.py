"""Containers as AI Core's pods are: run, watched, and removed whatever happens."""

import codecs
import contextlib
import io
import tarfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from aicore_build import engine
from aicore_build.engine import Client, connected, said
from aicore_build.errors import EngineError
from aicore_build.verify.report import Outcome

USER = "65534:65534"

_LABEL = "aicore-build.verify"

KEPT = 1024 * 1024
"""Characters of a container's output that are kept: the last ones."""

_SAMPLED = 0.3
"""Seconds between two looks at a container's memory."""

_OPEN = "mode=1777"

_GRACE = 8
"""Seconds that the containers have to go when all of them are ended."""

NOT_STARTED = 127
"""The exit code of a shell for a command that isn't there; ours for one that can't be started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a resource plan gives to a container."""

    cpus: float
    memory: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A container to run."""

    name: str
    image: str
    """Its ID in the engine."""

    command: tuple[str, ...]
    args: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)

    network: str
    """Docker's: `host`, `bridge`, `none`."""

    writable: tuple[str, ...] | None
    """Folders that keep what is written; None for the whole root."""

    folders: tuple[str, ...] = ()
    """Where empty folders are mounted that everybody may write to."""

    in_memory: tuple[str, ...] = ()
    """The same, but lost when it has ended."""

    limits: Limits | None = None
    deadline: float | None = None
    """Seconds."""

    outputs: tuple[str, ...] = ()
    """Paths of files that are read when it has ended well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a container ended."""

    outcome: Outcome
    exit_code: int | None
    output: str
    started: float
    """time.monotonic()"""

    seconds: float
    peak_memory: int | None
    out_of_memory: bool
    past_deadline: bool
    files: Mapping[str, str | None]
    """What was in the files of `outputs`; None for one that isn't there."""


class Pods:
    """The containers of one verification; `with` sees to it that none is left behind."""

    def __init__(self) -> None:
        """Make it, without connecting."""
        self._id = uuid.uuid4().hex
        self._stopping = threading.Event()
        self._running = 0
        self._changed = threading.Condition()

    def __enter__(self) -> "Pods":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, pod: Pod, show: Callable[[str], None] = lambda _line: None) -> Ended:
        """Run a container to its end; from any thread.

        Args:
            pod: what to run.
            show: is called with each line that it says.

        Raises:
            EngineError: the engine can't be reached, stopped answering, or can't make it.
        """
        with self._counted(), connected("step") as client:
            container = self._create(client, pod)
            try:
                return self._watch(client, container, pod, show)
            finally:
                with contextlib.suppress(engine.NotThere):
                    client.remove_container(container, force=True, v=True)

    def stop(self) -> None:
        """End and remove all containers, and wait until the calls of `run` are over."""
        self._stopping.set()
        deadline = time.monotonic() + _GRACE
        with self._changed:
            while self._running and time.monotonic() < deadline:
                # A container that is just being made shows up a little later: look again.
                self._end_all(lambda client, container: client.kill(container))
                self._changed.wait(0.2)
        # What a call of `run` should have removed, if the engine left it without an answer.
        self._end_all(
            lambda client, container: client.remove_container(container, v=True, force=True)
        )

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._changed:
            if self._stopping.is_set():
                raise StoppedError
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _end_all(self, end: Callable[[Client, str], None]) -> None:
        if not self._running:
            return
        with contextlib.suppress(EngineError), connected("answer") as client:
            labelled = {"label": f"{_LABEL}={self._id}"}
            for container in client.containers(all=True, filters=labelled):
                with contextlib.suppress(*engine.Refused):
                    end(client, container["Id"])

    def _create(self, client: Client, pod: Pod) -> str:
        limits: dict[str, Any] = {}
        if pod.limits:
            cpus = min(pod.limits.cpus, float(client.info()["NCPU"]))
            limits = {
                "nano_cpus": int(cpus * 1e9),
                "mem_limit": pod.limits.memory,
                "memswap_limit": pod.limits.memory,
            }
        # A volume without a name has what the image has there, and goes with its container.
        on_disk = [folder for folder in pod.folders if _parent(folder) != "/"]
        volumes = dict.fromkeys((*(pod.writable or ()), *map(_parent, on_disk)))
        try:
            created: dict[str, str] = client.create_container(
                pod.image,
                entrypoint=list(pod.command),
                command=list(pod.args),
                environment=dict(pod.environment),
                user=USER,
                labels={_LABEL: self._id},
                host_config=client.create_host_config(
                    cap_drop=["ALL"],
                    security_opt=["no-new-privileges"],
                    network_mode=pod.network,
                    read_only=pod.writable is not None,
                    mounts=[engine.Mount(path, None, type="volume") for path in volumes],
                    tmpfs=dict.fromkeys((*pod.in_memory, *(set(pod.folders) - {*on_disk})), _OPEN),
                    **limits,
                ),
            )
            for folder in on_disk:
                client.put_archive(created["Id"], _parent(folder), _folder_for_everybody(folder))
        except engine.Refused as error:
            raise EngineError(
                f"The Docker Engine can't make a container for {pod.name}: {said(error)}."
            ) from error
        return created["Id"]

    def _watch(
        self, client: Client, container: str, pod: Pod, show: Callable[[str], None]
    ) -> Ended:
        started = time.monotonic()
        output = Output(show)
        memory = _Memory(container)
        deadline = _Deadline(container, pod.deadline)
        # Attached before it starts: the engine's log, followed to its end, now and then lacks the
        # last line where that has no newline.
        chunks = client.attach(container, stdout=True, stderr=True, stream=True)
        try:
            client.start(container)
        except engine.Refused as error:
            output.write(said(error).encode())
            code = NOT_STARTED
        else:
            with deadline, memory:
                for chunk in chunks:
                    output.write(chunk)
                code = int(client.wait(container)["StatusCode"])
        output.end()
        stopped = self._stopping.is_set() and code != 0
        return Ended(
            outcome=Outcome.STOPPED if stopped else Outcome.FAILED if code else Outcome.SUCCEEDED,
            exit_code=None if stopped else code,
            output=output.text(),
            started=started,
            seconds=time.monotonic() - started,
            peak_memory=memory.peak,
            out_of_memory=bool(client.inspect_container(container)["State"].get("OOMKilled")),
            past_deadline=deadline.passed,
            files={path: _read(client, container, path) for path in pod.outputs if code == 0},
        )


class StoppedError(Exception):
    """A container was to be run after all of them were ended."""


class Output:
    """Puts the chunks of a log together to lines, and keeps the last of them."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._line = ""
        self._lines: deque[str] = deque()
        self._kept = 0
        self._left_out = 0

    def write(self, chunk: bytes) -> None:
        """Take what was said since; show each line that is whole."""
        *lines, self._line = (self._line + self._decoder.decode(chunk)).split("\n")
        for line in lines:
            self._add(line.rstrip("\r"))
        if len(self._line) > KEPT:
            # No end in sight: what is kept has to have one.
            self._add(self._line)
            self._line = ""

    def end(self) -> None:
        """Take what is left for a line."""
        self._line += self._decoder.decode(b"", final=True)
        if self._line:
            self._add(self._line.rstrip("\r"))
            self._line = ""

    def text(self) -> str:
        """The lines that are kept."""
        left_out = [f"… {self._left_out} lines before are left out"] if self._left_out else []
        return "\n".join([*left_out, *self._lines])

    def _add(self, line: str) -> None:
        self._show(line)
        self._lines.append(line)
        self._kept += len(line)
        while self._kept > KEPT and len(self._lines) > 1:
            self._kept -= len(self._lines.popleft())
            self._left_out += 1


class _Deadline:
    """Kills a container that runs too long."""

    def __init__(self, container: str, seconds: float | None) -> None:
        self.passed = False
        self._container = container
        self._timer = threading.Timer(seconds, self._kill) if seconds else None

    def __enter__(self) -> None:
        if self._timer:
            self._timer.daemon = True
            self._timer.start()

    def __exit__(self, *_: object) -> None:
        if self._timer:
            self._timer.cancel()

    def _kill(self) -> None:
        self.passed = True
        with contextlib.suppress(EngineError, *engine.Refused), connected("answer") as client:
            client.kill(self._container)


class _Memory:
    """Looks again and again at how much memory a container has, and keeps the most."""

    def __init__(self, container: str) -> None:
        self.peak: int | None = None
        self._container = container
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=5)

    def _look(self) -> None:
        with contextlib.suppress(EngineError, *engine.Refused), connected("answer") as client:
            while not self._over.wait(_SAMPLED):
                found = client.stats(self._container, stream=False, one_shot=True)["memory_stats"]
                if "usage" in found:
                    # As `docker stats` counts: without files that are only cached.
                    cached = found.get("stats", {})
                    inactive = cached.get("total_inactive_file", cached.get("inactive_file", 0))
                    self.peak = max(self.peak or 0, found["usage"] - inactive)


def _parent(folder: str) -> str:
    return str(PurePosixPath(folder).parent)


def _folder_for_everybody(folder: str) -> bytes:
    """A tar with a folder that everybody may write to, as Kubernetes' emptyDir.

    A volume's own mode can't be set; so the volume is the folder above.
    """
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo(PurePosixPath(folder).name)
        info.type, info.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(info)
    return file.getvalue()


def _read(client: Client, container: str, path: str) -> str | None:
    """Read a file out of a stopped container; None if there is none."""
    try:
        chunks, _ = client.get_archive(container, path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            member = tar.extractfile(tar.getmembers()[0])
            return member.read().decode(errors="replace") if member else None
    except engine.NotThere:
        return None
