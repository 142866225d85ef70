"""The attempts of steps as containers, remembered with how they ended."""

import time
from dataclasses import replace
from pathlib import Path

from aicore_build.progress import DONE, Reporter
from aicore_build.resource_plans import find_plan
from aicore_build.result import write_whole
from aicore_build.verify.images import Image
from aicore_build.verify.options import Options
from aicore_build.verify.pods import Ended, Limits, Pod, Pods
from aicore_build.verify.rehearsal import Attempt
from aicore_build.verify.report import StepRun
from aicore_build.verify.secrets import Mask, Secrets, is_on_loopback


class Runs:
    """Runs attempts as pods, and remembers how they ended."""

    def __init__(
        self,
        images: tuple[Image, ...],
        pods: Pods,
        secrets: Secrets,
        options: Options,
        reporter: Reporter,
        *,
        began: float,
        deadline: float | None,
    ) -> None:
        """Make it.

        Args:
            images: that the steps run in.
            pods: runs the containers.
            secrets: what is in them is hidden from what is shown and remembered.
            reporter: is told of each attempt and of what it says.
            options: say which network the containers have, and where they may write.
            began: time.monotonic() of the verification's begin.
            deadline: of the whole workflow, in seconds.
        """
        self._images = {image.reference: image for image in images}
        self._pods = pods
        self._mask = Mask(secrets)
        self.network = options.network or ("host" if is_on_loopback(secrets) else "bridge")
        """Docker's, of all containers."""

        self._writable_root = options.writable_root
        self._reporter = reporter
        self._began = began
        self._deadline = deadline and time.monotonic() + deadline
        self._runs: list[StepRun] = []

    def __call__(self, attempt: Attempt) -> Ended:
        """Run one attempt to its end."""
        image, step = self._images[attempt.step.image], attempt.step
        name = f"{attempt.label} (again)" if attempt.number else attempt.label
        self._reporter.phase(name, "running")
        ended = self._pods.run(
            Pod(
                name=attempt.label,
                image=image.id,
                command=attempt.command,
                args=attempt.args,
                environment=attempt.environment,
                network=self.network,
                writable=None
                if self._writable_root
                else _outside(image.writable, (*step.folders, *step.in_memory)),
                folders=step.folders,
                in_memory=step.in_memory,
                limits=_limits(step.resource_plan),
                deadline=self.time_left(step.deadline),
                outputs=tuple(output.path for output in step.outputs if output.path),
            ),
            lambda line: self._reporter.output(attempt.label, self._mask(line)),
        )
        run = StepRun(
            name=attempt.label,
            template=step.name,
            attempt=attempt.number,
            image=step.image,
            outcome=ended.outcome,
            exit_code=ended.exit_code,
            started=ended.started - self._began,
            seconds=ended.seconds,
            peak_memory=ended.peak_memory,
            output=self._mask(ended.output),
        )
        self._runs.append(run)
        self._reporter.phase(name, f"{DONE}: {run.outcome} after {run.seconds:.1f} s")
        # Its last lines are what a failure is explained with.
        return replace(ended, output=run.output)

    def time_left(self, seconds: float | None) -> float | None:
        """How long a container may run: its own deadline, and what is left of the workflow's."""
        left = self._deadline and max(self._deadline - time.monotonic(), 1)
        return min((limit for limit in (seconds, left) if limit), default=None)

    def sorted(self) -> tuple[StepRun, ...]:
        """In the order in which they were started."""
        return tuple(sorted(self._runs, key=lambda run: run.started))

    def write_logs(self, folder: Path) -> None:
        """Write a file for each attempt."""
        for run in self._runs:
            again = f".{run.attempt}" if run.attempt else ""
            write_whole(folder / f"{run.name}{again}.log", f"{run.output}\n")


def _outside(writable: tuple[str, ...], folders: tuple[str, ...]) -> tuple[str, ...]:
    """The folders of an image that nothing else is mounted over."""
    return tuple(folder for folder in writable if folder not in folders)


def _limits(name: str | None) -> Limits | None:
    plan = find_plan(name) if name else None
    return Limits(cpus=plan.cores, memory=plan.gigabytes * 1000**3) if plan else None
