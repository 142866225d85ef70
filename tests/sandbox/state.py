"""What runs, on disk: written after each step, so that a crash leaves nothing unrecorded."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from tests.sandbox.processes import Process
from tests.sandbox.report import say


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    docker_host: str | None = None
    """Set if the environment alone does not lead to the engine, as with one of our own."""

    registry_port: int | None = None

    registry_container: str | None = None
    """Where the registry runs as a container instead of a process."""

    s3_port: int | None = None

    base_image: str | None = None

    processes: Mapping[str, Process] = field(default_factory=dict)

    def with_process(self, name: str, process: Process) -> "State":
        return replace(self, processes={**self.processes, name: process})

    def runs(self, name: str) -> bool:
        return name in self.processes and self.processes[name].running


@dataclass(frozen=True, slots=True)
class Store:
    """The folder that holds the state, the logs and the data."""

    root: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        cache = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return cls(Path(cache) / "aicore-build" / "sandbox")

    def log(self, name: str) -> Path:
        return self.root / f"{name}.log"

    @property
    def file(self) -> Path:
        return self.root / "state.json"

    def load(self) -> State:
        try:
            data: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return State()
        processes = {name: Process(**value) for name, value in data.pop("processes").items()}
        return State(**data, processes=processes)

    def save(self, state: State) -> State:
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
        draft.replace(self.file)
        return state

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One start or stop at a time; the lock ends with the process that holds it."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.root / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("waiting for another start or stop to finish")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def is_root() -> bool:
    return os.geteuid() == 0
