"""What a verification found: the one thing that text, JSON and the page are made from."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from aicore_build.lint.finding import Finding, Severity


class Outcome(StrEnum):
    """How a container ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    """Ended by us, since another step had failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that is asked of an image."""

    name: str
    """`writable-workdir`"""

    about: str
    """What is asked, for people: `/user/home, the WORKDIR, can be written to`."""

    problem: str | None
    """What is wrong; None where nothing is."""

    fix: str
    """What to do about it; empty where nothing is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReport:
    """An image of the workflow template."""

    reference: str
    """As the workflow template names it."""

    steps: tuple[str, ...]
    """Names of the templates that run in it."""

    platform: str
    size: int
    """Bytes in the Docker Engine, uncompressed."""

    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A task of the DAG, as it is drawn."""

    name: str
    """The task's; unique among its siblings only."""

    template: str
    """What it runs; the template of its StepRuns, unless it has a DAG of its own."""

    dependencies: tuple[str, ...]
    """Names of siblings that have to be done before."""

    foreach: bool
    """Whether it runs once for each item of a list."""

    inner: tuple["Node", ...]
    """The tasks of its own DAG; empty where it runs a container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRun:
    """A container that was run: one attempt of a step."""

    name: str
    """The step's template, with the indexes where it runs several times: `train(0)(2)`."""

    template: str

    attempt: int
    """From 0."""

    image: str
    outcome: Outcome

    exit_code: int | None
    """None where it was ended by us."""

    started: float
    """Seconds since the verification began."""

    seconds: float

    peak_memory: int | None
    """Bytes, the most of several looks a second; None where it ended before the first."""

    output: str
    """stdout and stderr, in the order of their lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The first thing that went wrong, explained."""

    subject: str
    """The step with its indexes, or the image's reference."""

    cause: str
    """One sentence: what happened."""

    fix: str
    """What to change."""

    tail: tuple[str, ...]
    """The last lines that it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole of it."""

    name: str
    """Of the workflow template."""

    template: Path

    quick: bool
    """Whether only the images were looked at, and nothing was run."""

    seconds: float
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    """What was not done as on AI Core, and why."""

    images: tuple[ImageReport, ...]
    graph: tuple[Node, ...]
    """The tasks of the entrypoint, in the order of the workflow template."""

    runs: tuple[StepRun, ...]
    """In the order in which they were started."""

    failure: Failure | None

    @property
    def ok(self) -> bool:
        """Whether AI Core would run it, as far as this machine can tell."""
        return (
            self.failure is None
            and not any(finding.severity is Severity.ERROR for finding in self.findings)
            and not any(check.problem for image in self.images for check in image.checks)
        )

    def as_json(self) -> dict[str, Any]:
        """For `--json`; documented in docs/json.md."""
        return {
            "schema": 1,
            "command": "verify",
            "ok": self.ok,
            **asdict(self),
            "template": str(self.template),
            "findings": [{**asdict(finding), "path": finding.where} for finding in self.findings],
        }
