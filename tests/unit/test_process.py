import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import pytest

from aicore_build.process import ProcessError, run

LONG = "60"
"""Seconds that a child sleeps: much longer than a test may take."""

# A child that starts one of its own, which holds its stdout and stderr open.
FAMILY = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep({LONG})"])
print("begun", file=sys.stderr, flush=True)
time.sleep({LONG})
"""


def python(code: str, *, timeout: float = 60, **environment: str) -> str:
    return run(
        [sys.executable, "-c", code], cwd=Path("/"), environment=environment, timeout=timeout
    )


def test_stdout_is_returned() -> None:
    assert python("import sys; print('out'); print('err', file=sys.stderr)") == "out\n"


def test_the_environment_and_the_folder_are_those_given(tmp_path: Path) -> None:
    code = "import os; print(os.getcwd(), os.environ.get('HOME'), os.environ['ONLY'])"
    stdout = run(
        [sys.executable, "-c", code], cwd=tmp_path, environment={"ONLY": "this"}, timeout=60
    )
    assert stdout == f"{tmp_path} None this\n"


def test_arguments_go_through_no_shell() -> None:
    code = "import sys; print(sys.argv[1:])"
    command: list[str | Path] = [sys.executable, "-c", code, "$HOME; echo x", Path("a b")]
    assert run(command, cwd=Path("/"), environment={}, timeout=60) == "['$HOME; echo x', 'a b']\n"


def test_nobody_is_asked() -> None:
    assert python("import sys; print(repr(sys.stdin.read()))") == "''\n"


def test_output_that_is_no_text_does_not_stop_it() -> None:
    assert python("import os; os.write(1, b'a\\xffb')") == "a\N{REPLACEMENT CHARACTER}b"


def test_the_command_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        python("0 # it's logged")
    assert caplog.messages == [f"running {sys.executable} -c '0 # it'\"'\"'s logged'"]


def test_a_failure_says_what_was_said() -> None:
    with pytest.raises(ProcessError, match=r"^it exited with 3$") as failed:
        python("import sys; print('why', file=sys.stderr); sys.exit(3)")
    assert failed.value.reason == "it exited with 3"
    assert failed.value.stderr == "why\n"
    assert not failed.value.timed_out


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(ProcessError, match="no-program could not be started: No such file"):
        run(["/no-program"], cwd=Path("/"), environment={}, timeout=60)


def test_a_time_limit_ends_the_whole_family() -> None:
    begin = time.monotonic()
    with pytest.raises(ProcessError, match=r"^it did not end within 0\.7 s$") as failed:
        python(FAMILY, timeout=0.7)
    assert failed.value.timed_out
    assert failed.value.stderr == "begun\n"
    assert time.monotonic() - begin < float(LONG) / 2  # else the grandchild held the pipe open


@pytest.mark.parametrize(
    "interruption",
    [
        pytest.param(SystemExit, id="SIGTERM"),
        pytest.param(KeyboardInterrupt, id="Ctrl-C"),
    ],
)
def test_an_interruption_ends_the_child(tmp_path: Path, interruption: type[BaseException]) -> None:
    file = tmp_path / "pid"
    code = f"import os, time; open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep({LONG})"

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        if file.exists() and file.read_text(encoding="utf-8"):
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    begin = time.monotonic()
    try:
        with pytest.raises(interruption):
            python(code)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - begin < float(LONG) / 2
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text(encoding="utf-8")), 0)
