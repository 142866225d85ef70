"""Report → one HTML page that needs nothing else: no network, no script; pure."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from aicore_build.lint.finding import Severity
from aicore_build.verify.drawing import Box, draw
from aicore_build.verify.plain_text import end_of, plain_text
from aicore_build.verify.report import Node, Outcome, Report, StepRun

LOG_CHARACTERS = 200_000
"""What is kept of a log, from its end."""

ALL_LOGS_CHARACTERS = 12_000_000
"""What is kept of all logs; with more than that a browser gets slow."""

LEAST_LOG_CHARACTERS = 4_000
"""What is kept of a log however many there are."""

NAME_CHARACTERS = 24
GROUP_NAME_CHARACTERS = 44
_CHARACTER = 7.4
"""Width in pixels of a name's character: 0.61 em of 12 px, which monospaced fonts have at most."""

_DETAIL_CHARACTER = 6.2
_LEAF_FRAME = 46.0
"""What a leaf has beside its text: margins and the mark."""

_GROUP_FRAME = 104.0
"""What a group has beside its name: margins and the word foreach."""

_TICKS = 6


class State(StrEnum):
    """How a step ended: the worst of its runs, where a retry takes the place of what failed."""

    FAILED = "failed"
    STOPPED = "stopped"
    RETRIED = "retried"
    """It, or the run, failed and was tried again; as a step it succeeded then."""

    SUCCEEDED = "succeeded"
    NOT_RUN = "not-run"


_WORDS = {
    State.FAILED: "failed",
    State.STOPPED: "stopped",
    State.RETRIED: "succeeded after a retry",
    State.SUCCEEDED: "succeeded",
    State.NOT_RUN: "not run",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A run, as the timeline and the logs show it."""

    run: StepRun
    number: int
    state: State

    words: str
    """How it ended."""

    left: float
    """Of the bar, in percent of the axis; as is its width."""

    width: float
    log: str
    cut: int
    """Characters that the log had before."""

    @property
    def name(self) -> str:
        again = f", attempt {self.run.attempt + 1}" if self.run.attempt else ""
        return f"{self.run.name}{again}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """A task, as the DAG shows it."""

    box: Box
    state: State
    label: str
    """The name, or its beginning."""

    title: str
    detail: str = ""
    log: int | None = None
    """The number of the run whose log it leads to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """Of the timeline, in seconds."""

    end: float
    ticks: tuple[float, ...]


def render_page(report: Report) -> str:
    """Render the page; equal reports give equal pages, and each can be encoded as UTF-8."""
    import jinja2  # takes 50 ms, which `--help` has not  # noqa: PLC0415

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        autoescape=True,  # logs and names may be anything
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: plain_text(value) if type(value) is str else value,
    )
    environment.filters.update(duration=duration, size=size)
    axis = _axis(report.runs)
    rows = _rows(report.runs, axis)
    rows_of = _by_template(rows)
    drawing = draw(report.graph, lambda node: _width(node, rows_of))
    return environment.get_template("page.html.j2").render(
        report=report,
        verdict=_verdict(report),
        totals=_totals(report),
        axis=axis,
        rows=rows,
        drawing=drawing,
        shapes=[_shape(box, rows_of) for box in drawing.boxes],
        failed_row=_failed_row(report, rows),
    )


def duration(seconds: float) -> str:
    """Seconds for people: `0.4 s`, `12 min 05 s`."""
    if seconds < 100:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def size(count: int) -> str:
    """Bytes for people, as Docker writes them: `412 MB`, `1.2 GB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.{0 if count >= 10 * factor else 1}f} {unit}"
    return f"{count} B"


def step_state(runs: Iterable[StepRun]) -> State:
    """How a step ended that had these runs."""
    last: dict[str, StepRun] = {}
    for run in runs:
        if run.name not in last or last[run.name].attempt < run.attempt:
            last[run.name] = run
    outcomes = {run.outcome for run in last.values()}
    if not outcomes:
        return State.NOT_RUN
    if Outcome.FAILED in outcomes:
        return State.FAILED
    if Outcome.STOPPED in outcomes:
        return State.STOPPED
    return State.RETRIED if any(run.attempt for run in last.values()) else State.SUCCEEDED


def _axis(runs: Sequence[StepRun]) -> _Axis:
    """From 0 to the end of the last run, with ticks at 1, 2 or 5 times a power of ten."""
    end = max((run.started + run.seconds for run in runs), default=0.0) or 1.0
    powers = (10.0**exponent for exponent in range(-3, 9))
    steps = (factor * power for power in powers for factor in (1, 2, 5))
    step = next(step for step in steps if end / step <= _TICKS)
    return _Axis(end=end, ticks=tuple(number * step for number in range(int(end / step) + 1)))


def _rows(runs: Sequence[StepRun], axis: _Axis) -> tuple[_Row, ...]:
    attempts = {(run.name, run.attempt) for run in runs}
    limit = ALL_LOGS_CHARACTERS // max(len(runs), 1)
    limit = max(LEAST_LOG_CHARACTERS, min(LOG_CHARACTERS, limit))
    rows = []
    for number, run in enumerate(runs, start=1):
        state = _run_state(run, again=(run.name, run.attempt + 1) in attempts)
        log, cut = end_of(plain_text(run.output), limit)
        row = _Row(
            run=run,
            number=number,
            state=state,
            words="failed, was tried again" if state is State.RETRIED else _WORDS[state],
            left=round(100 * run.started / axis.end, 3),
            width=round(100 * run.seconds / axis.end, 3),
            log=log,
            cut=cut,
        )
        rows.append(row)
    return tuple(rows)


def _run_state(run: StepRun, *, again: bool) -> State:
    match run.outcome:
        case Outcome.SUCCEEDED:
            return State.SUCCEEDED
        case Outcome.FAILED:
            return State.RETRIED if again else State.FAILED
        case Outcome.STOPPED:
            return State.STOPPED
    assert_never(run.outcome)


def _by_template(rows: Iterable[_Row]) -> dict[str, list[_Row]]:
    found: dict[str, list[_Row]] = {}
    for row in rows:
        found.setdefault(row.run.template, []).append(row)
    return found


def _width(node: Node, rows_of: Mapping[str, Sequence[_Row]]) -> float:
    """Of a task's box, in pixels; of a group's the least."""
    if node.inner:
        return _GROUP_FRAME + _CHARACTER * _cells(_shortened(node.name, GROUP_NAME_CHARACTERS))
    name = _CHARACTER * _cells(_shortened(node.name, NAME_CHARACTERS))
    detail = _DETAIL_CHARACTER * _cells(_detail(rows_of.get(node.template, ())))
    return _LEAF_FRAME + max(name, detail)


def _shape(box: Box, rows_of: Mapping[str, Sequence[_Row]]) -> _Shape:
    node = box.node
    if node.inner:
        state = _worst(_leaves(node), rows_of)
        foreach = ", once for each item of a list" if node.foreach else ""
        title = f"{node.name}: a DAG of {len(_leaves(node))} steps{foreach}"
        limit = GROUP_NAME_CHARACTERS
        return _Shape(box=box, state=state, label=_shortened(node.name, limit), title=title)
    rows = rows_of.get(node.template, ())
    state = step_state(row.run for row in rows)
    worst = next((row for row in rows if row.state is state), rows[-1] if rows else None)
    named = node.name if node.name == node.template else f"{node.name} ({node.template})"
    details = ", ".join(filter(None, [_WORDS[state], _counts(rows), _seconds(rows)]))
    return _Shape(
        box=box,
        state=state,
        label=_shortened(node.name, NAME_CHARACTERS),
        detail=_detail(rows),
        title=f"{named}: {details}",
        log=worst.number if worst else None,
    )


def _worst(leaves: Iterable[Node], rows_of: Mapping[str, Sequence[_Row]]) -> State:
    found = {step_state(row.run for row in rows_of.get(leaf.template, ())) for leaf in leaves}
    return next(state for state in State if state in found)


def _leaves(node: Node) -> list[Node]:
    return [leaf for inner in node.inner for leaf in _leaves(inner)] or [node]


def _detail(rows: Sequence[_Row]) -> str:
    """The second line of a step's box."""
    state = step_state(row.run for row in rows)
    word = "" if state in (State.SUCCEEDED, State.RETRIED) else _WORDS[state]
    return " · ".join(filter(None, [word, _counts(rows), _seconds(rows)]))


def _counts(rows: Sequence[_Row]) -> str:
    names = len({row.run.name for row in rows})
    retries = sum(row.run.attempt > 0 for row in rows)
    several = f"{names}\N{MULTIPLICATION SIGN}" if names > 1 else ""
    again = _number(retries, "retry") if retries else ""
    return " · ".join(filter(None, [several, again]))


def _seconds(rows: Sequence[_Row]) -> str:
    return duration(sum(row.run.seconds for row in rows)) if rows else ""


def _cells(text: str) -> int:
    """How many characters of a monospaced font it is as wide as."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _shortened(text: str, cells: int) -> str:
    if _cells(text) <= cells:
        return text
    while _cells(text) > cells - 1:
        text = text[:-1]
    return f"{text}…"


def _failed_row(report: Report, rows: Sequence[_Row]) -> _Row | None:
    """The run that the failure tells of: the last attempt."""
    subject = report.failure.subject if report.failure else None
    return next((row for row in reversed(rows) if row.run.name == subject), None)


def _verdict(report: Report) -> str:
    """One sentence."""
    if report.ok:
        if report.quick:
            return "The images have what AI Core needs. No step was run."
        return "Every step that ran succeeded, as AI Core would run it."
    errors = sum(finding.severity is Severity.ERROR for finding in report.findings)
    problems = sum(check.problem is not None for image in report.images for check in image.checks)
    parts = [
        "a step failed" if report.failure and not report.quick else "",
        _number(errors, "error") + " in the workflow template" if errors else "",
        _number(problems, "problem") + " in the images" if problems else "",
    ]
    return f"AI Core would not run it: {', '.join(filter(None, parts)) or 'see below'}."


def _totals(report: Report) -> dict[str, str]:
    """The figures at the top, by what they count."""
    leaves = {leaf.template for node in report.graph for leaf in _leaves(node)}
    ran = leaves & {run.template for run in report.runs}
    retries = sum(run.attempt > 0 for run in report.runs)
    peaks = [run.peak_memory for run in report.runs if run.peak_memory is not None]
    images = sum(image.size for image in report.images)
    runs = {
        "Steps": f"{len(leaves)}" if ran == leaves else f"{len(ran)} of {len(leaves)} ran",
        "Runs": f"{len(report.runs)}" + (f" · {_number(retries, 'retry')}" if retries else ""),
        "Peak memory": size(max(peaks)) if peaks else "not known",
    }
    return {
        **({"Steps": f"{len(leaves)}"} if report.quick else runs),
        "Took": duration(report.seconds),
        "Images": f"{len(report.images)} · {size(images)}",
    }


def _number(count: int, word: str) -> str:
    plural = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
    return f"{count} {word if count == 1 else plural}"
