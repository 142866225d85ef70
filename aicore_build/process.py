"""One way to run a subprocess: no shell, a time limit, and the end of stderr in the error."""

import atexit
import contextlib
import logging
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

LOG = logging.getLogger(__name__)

_running: set["subprocess.Popen[str]"] = set()
"""Ended when we end: a thread that waits for one is not told of Ctrl-C."""


class ProcessError(Exception):
    """A command could not be started, failed, or took too long; `stderr` is all that it said."""

    def __init__(self, reason: str, stderr: str = "", *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.stderr = stderr
        self.timed_out = timed_out


def run(
    command: Sequence[str | Path], *, cwd: Path, environment: Mapping[str, str], timeout: float
) -> str:
    """Run a command to its end and return its stdout.

    Its process group is its own and is ended as a whole, so that neither a time limit nor Ctrl-C
    leaves something running.

    Args:
        command: the program and its arguments.
        cwd: the folder to run in.
        environment: the whole environment.
        timeout: seconds.

    Raises:
        ProcessError: it could not be started, exited non-zero, or ran into the time limit.
    """
    arguments = [str(part) for part in command]
    LOG.debug("running %s", shlex.join(arguments))
    try:
        process = subprocess.Popen(
            arguments,
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise ProcessError(f"{arguments[0]} could not be started: {error.strerror}") from error
    _running.add(process)
    with process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            _, stderr = process.communicate()
            raise ProcessError(
                f"it did not end within {timeout:g} s", stderr, timed_out=True
            ) from None
        except BaseException:
            _end(process)
            process.communicate()
            raise
        finally:
            _running.discard(process)
    if process.returncode != 0:
        raise ProcessError(f"it exited with {process.returncode}", stderr)
    return stdout


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@atexit.register
def _end_all() -> None:
    for process in tuple(_running):
        _end(process)
