"""Progress on stderr: a row per image on a terminal, plain lines elsewhere."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.progress import TaskID


class Reporter(Protocol):
    """Is told what happens; called from several threads."""

    def phase(self, name: str, phase: str) -> None:
        """Something (an image, the generator) has reached a phase."""

    def output(self, name: str, line: str) -> None:
        """A line of a build's output."""

    def note(self, text: str) -> None:
        """Something that the user should know, and that stops nothing."""


class PlainReporter:
    """A line a phase, for logs."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def phase(self, name: str, phase: str) -> None:  # noqa: D102
        _print(f"{name}: {phase}")

    def output(self, name: str, line: str) -> None:  # noqa: D102
        if self._verbose:
            _print(f"{name} | {line}")

    def note(self, text: str) -> None:  # noqa: D102
        _print(f"Note: {text}")


def _print(line: str) -> None:
    """In one write: several threads print."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class LiveReporter:
    """A row per image with its phase and the time it has taken, kept up to date."""

    def __init__(self, *, verbose: bool) -> None:
        from rich.console import Console  # noqa: PLC0415 - takes 50 ms, and a terminal
        from rich.progress import (  # noqa: PLC0415
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        self._verbose = verbose
        self._rows: dict[str, TaskID] = {}
        self._progress: Progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[phase]}", style="cyan", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def phase(self, name: str, phase: str) -> None:  # noqa: D102
        if name not in self._rows:
            self._rows[name] = self._progress.add_task(name, total=1, phase=phase)
        done = phase.startswith(DONE)
        self._progress.update(self._rows[name], phase=phase, completed=1 if done else 0)

    def output(self, name: str, line: str) -> None:  # noqa: D102
        if self._verbose:
            self._progress.console.print(f"{name} | {line}", markup=False, highlight=False)

    def note(self, text: str) -> None:  # noqa: D102
        self._progress.console.print(f"Note: {text}", markup=False, highlight=False)


DONE = "done"
"""The last phase of everything begins with this word."""


def reporter(*, verbose: bool) -> PlainReporter | LiveReporter:
    """Make the reporter that suits stderr."""
    return LiveReporter(verbose=verbose) if sys.stderr.isatty() else PlainReporter(verbose=verbose)
