"""Background processes that outlive us, told apart from later ones with the same pid."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.sandbox.report import SandboxError

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    pid: int

    started: str
    """Boot and start time as the system states them: a recycled pid has others."""

    @property
    def running(self) -> bool:
        return identify(self.pid) == self

    def end(self, grace_seconds: float = 20) -> None:
        """SIGTERM, then SIGKILL; nothing if it has ended or the pid is another's by now."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.running:
                return
            os.kill(self.pid, number)
            deadline = time.monotonic() + grace_seconds
            while self.running and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)


def identify(pid: int) -> Process | None:
    """The process that has this pid now; None if there is none or it is a zombie."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return parse_stat(pid, stat, boot)
    listed = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, started = listed.stdout.strip().partition(" ")
    return None if state[:1] in ("", "Z") else Process(pid=pid, started=started.strip())


def parse_stat(pid: int, stat: str, boot: str) -> Process | None:
    """Read Linux's /proc/PID/stat, whose second field may hold spaces and parentheses."""
    fields = stat.rpartition(")")[2].split()
    state, started = fields[0], fields[19]
    return None if state in ("Z", "X") else Process(pid=pid, started=f"{boot}/{started}")


def spawn(argv: Sequence[str], log: Path) -> Process:
    """Start a daemon in its own session.

    The shell in between ends at once, so that the daemon is nobody's child: it never becomes
    a zombie of ours and survives the terminal.
    """
    script = '"$@" >"$0" 2>&1 </dev/null & echo $!'
    shell = subprocess.run(
        ["sh", "-c", script, str(log), *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=log.parent,
        start_new_session=True,
    )
    process = identify(int(shell.stdout))
    if process is None:
        raise SandboxError(f"{argv[0]} ended as soon as it was started.", log)
    return process


def wait_until(ready: Callable[[], bool], process: Process, name: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        if not process.running:
            raise SandboxError(f"{name} ended before it answered.", log)
        if time.monotonic() > deadline:
            raise SandboxError(f"{name} did not answer within 60 s.", log)
        time.sleep(POLL_SECONDS)
