"""Made-up reports, for tests of the page and to look at: `python -m tests.pages FOLDER`."""

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from aicore_build.lint.finding import Finding, Severity
from aicore_build.verify.page import render_page
from aicore_build.verify.report import (
    Check,
    Failure,
    ImageReport,
    Node,
    Outcome,
    Report,
    StepRun,
)

MIB = 1 << 20
CPU = (
    f"registry.example.com/acme/metaflow-train:v1-prod-b93e36453c02@sha256:{'0123456789abcdef' * 4}"
)
GPU = f"registry.example.com/acme/metaflow-gpu:v1-prod-b93e36453c02@sha256:{'fedcba9876543210' * 4}"
HOSTILE = "<script>alert('x')</script>"

TRACEBACK = """\
Traceback (most recent call last):
  File "/user/home/trainflow.py", line 41, in train_model
    Path("/data/cache").mkdir()
  File "/usr/lib/python3.11/pathlib.py", line 1116, in mkdir
    os.mkdir(self, mode)
\x1b[31mPermissionError: [Errno 13] Permission denied: '/data/cache'\x1b[0m
"""


def node(name: str, *dependencies: str, foreach: bool = False, inner: Iterable[Node] = ()) -> Node:
    return Node(
        name=name, template=name, dependencies=dependencies, foreach=foreach, inner=tuple(inner)
    )


def run(name: str, started: float, seconds: float, **values: object) -> StepRun:
    """A run that succeeded, unless the values say something else."""
    start = StepRun(
        name=name,
        template=name.partition("(")[0],
        attempt=0,
        image=CPU,
        outcome=Outcome.SUCCEEDED,
        exit_code=0,
        started=started,
        seconds=seconds,
        peak_memory=round(90 + 17 * seconds) * MIB,
        output="".join(
            f"2026-03-01 10:00:{second:02d} [{name}] Task is starting: {second}\n"
            for second in range(12)
        ),
    )
    return replace(start, **values)  # type: ignore[arg-type] # names and types are StepRun's


def image(reference: str, *steps: str, checks: Iterable[Check] = ()) -> ImageReport:
    home = Check(
        name="writable-workdir",
        about="/user/home, the WORKDIR, can be written to",
        problem=None,
        fix="",
    )
    modules = Check(name="modules", about="boto3 and requests are there", problem=None, fix="")
    return ImageReport(
        reference=reference,
        steps=steps,
        platform="linux/amd64",
        size=412_345_678,
        checks=(home, modules, *checks),
    )


def report(graph: Iterable[Node], runs: Iterable[StepRun], **values: object) -> Report:
    """A report in which everything went well, unless the values say something else."""
    runs = tuple(runs)
    start = Report(
        name="trainflow",
        template=Path("/home/me/flows/trainflow.json"),
        quick=False,
        seconds=max((run.started + run.seconds for run in runs), default=0.0) + 0.4,
        findings=(),
        notes=("The secret default-object-store-secret was made from this machine's variables.",),
        images=(image(CPU, *dict.fromkeys(run.template for run in runs)),),
        graph=tuple(graph),
        runs=runs,
        failure=None,
    )
    return replace(start, **values)  # type: ignore[arg-type] # names and types are Report's


def two_steps() -> Report:
    return report(
        [node("start"), node("end", "start")], [run("start", 0.3, 2.1), run("end", 2.5, 1.9)]
    )


NESTED = (
    node("start"),
    node("load-features", "start"),
    node("load-labels", "start"),
    node("validate-inputs-against-the-schema", "load-features", "load-labels"),
    node(
        "validate-foreach-regions",
        "validate-inputs-against-the-schema",
        foreach=True,
        inner=[
            node("prepare-region"),
            node(
                "prepare-region-foreach-rates",
                "prepare-region",
                foreach=True,
                inner=[node("train-model"), node("evaluate", "train-model")],
            ),
            node("join-rates", "prepare-region-foreach-rates"),
        ],
    ),
    node("join-regions", "validate-foreach-regions"),
    node("report", "join-regions"),
    node("publish", "join-regions", "load-labels"),
    node("end", "report", "publish"),
)


def nested_foreach() -> Report:
    """Twelve steps, a foreach in a foreach, and a step that succeeds at its second attempt."""
    runs = [
        run("start", 0.4, 2.2),
        run("load-features", 2.8, 6.4),
        run("load-labels", 2.9, 3.1),
        run("validate-inputs-against-the-schema", 9.4, 2.4),
    ]
    for region in range(2):
        offset = 12.0 + 0.1 * region
        runs.append(run(f"prepare-region({region})", offset, 1.8 + region))
        for rate in range(3):
            name = f"train-model({region})({rate})"
            begin = offset + 3.2 + region
            if (region, rate) == (1, 1):
                failed = {"outcome": Outcome.FAILED, "exit_code": 1, "output": TRACEBACK}
                runs.append(run(name, begin, 3.3, **failed))
                runs.append(run(name, begin + 3.6, 9.0, attempt=1))
            else:
                runs.append(run(name, begin, 7.5 + rate, image=GPU))
            runs.append(run(f"evaluate({region})({rate})", begin + 13.1, 1.1))
        runs.append(run(f"join-rates({region})", offset + 18.5 + region, 1.4))
    runs += [
        run("join-regions", 34.2, 1.3),
        run("report", 35.7, 4.2),
        run("publish", 35.8, 2.0, peak_memory=None),
        run("end", 40.2, 1.2),
    ]
    runs.sort(key=lambda run: run.started)
    warning = Finding(
        code="AIC012",
        severity=Severity.WARNING,
        path=("spec", "templates", 3, "container", "resources"),
        message="train-model asks for 3 CPUs, which no resource plan has.",
        why="AI Core takes the resource plan from a label and ignores what the container asks for.",
        fix='Set the step\'s resource plan: [steps.train_model] resource-plan = "train.l".',
    )
    images = (image(CPU, "start", "load-features", "end"), image(GPU, "train-model"))
    return report(NESTED, runs, findings=(warning,), images=images)


def failed() -> Report:
    """The same, but the foreach's step can't write, and another is stopped."""
    runs = [run for run in nested_foreach().runs if run.started < 15]
    bad = {"outcome": Outcome.FAILED, "exit_code": 1, "output": TRACEBACK}
    stopped = {"outcome": Outcome.STOPPED, "exit_code": None, "peak_memory": None}
    runs += [
        run("train-model(0)(0)", 15.2, 2.1, **bad),
        run("train-model(0)(1)", 15.3, 4.9, **stopped),
        run("train-model(0)(0)", 17.6, 2.2, attempt=1, **bad),
    ]
    error = Finding(
        code="AIC003",
        severity=Severity.ERROR,
        path=("metadata", "labels"),
        message="The label scenarios.ai.sap.com/id is missing.",
        why="AI Core does not show the workflow template without it.",
        fix="Set scenario-id in aicore-build.toml.",
    )
    home = Check(
        name="writable-home",
        about="/data, the HOME, can be written to",
        problem="User 65534 can't write to /data.",
        fix="Add `RUN mkdir -p -m 777 /data` to the image's Dockerfile.",
    )
    return report(
        NESTED,
        runs,
        findings=(error, *nested_foreach().findings),
        images=(
            image(CPU, "start", "load-features", "end", checks=(home,)),
            image(GPU, "evaluate"),
        ),
        failure=Failure(
            subject="train-model(0)(0)",
            cause="The step may not write to /data/cache: AI Core runs it as user 65534.",
            fix="Add `RUN mkdir -p -m 777 /data/cache` to the image's Dockerfile.",
            tail=tuple(TRACEBACK.splitlines()),
        ),
    )


def sixty_steps() -> Report:
    """A fan-out of 24, chains, and three levels of foreach; sixty steps."""
    wide = [node(f"score-segment-{number:02d}", "split") for number in range(24)]
    deep = node(
        "train-foreach-country",
        "join-scores",
        foreach=True,
        inner=[
            node("country"),
            node(
                "country-foreach-shop",
                "country",
                foreach=True,
                inner=[
                    node("shop"),
                    node(
                        "shop-foreach-item",
                        "shop",
                        foreach=True,
                        inner=[node("item"), node("forecast-the-demand-of-one-item", "item")],
                    ),
                    node("join-items", "shop-foreach-item"),
                ],
            ),
            node("join-shops", "country-foreach-shop"),
        ],
    )
    tail = [node(f"post-process-{n:02d}", f"post-process-{n - 1:02d}") for n in range(1, 25)]
    graph = [
        node("start"),
        node("split", "start"),
        *wide,
        node("join-scores", *(step.name for step in wide)),
        deep,
        node("audit", "split"),
        node("post-process-00", "train-foreach-country", "audit"),
        *tail,
        node("end", "post-process-24", "start"),
    ]
    names = [name for step in graph for name in leaf_names(step)]
    runs = [run(name, 1.5 * number, 1.0 + number % 7) for number, name in enumerate(names)]
    return report(graph, runs, name="a-workflow-template-with-a-name-that-is-rather-long-for-one")


def hostile() -> Report:
    """Everything that a person, a program or a registry may have named is markup."""
    bad = {"outcome": Outcome.FAILED, "exit_code": 1, "output": HOSTILE, "template": HOSTILE}
    return report(
        [node(HOSTILE), node("group", HOSTILE, foreach=True, inner=[node('"><img src=x>')])],
        [run(HOSTILE, 0, 1, **bad)],
        name=HOSTILE,
        template=Path(f"/{HOSTILE}"),
        notes=(HOSTILE,),
        images=(
            image(
                HOSTILE,
                HOSTILE,
                checks=[Check(name=HOSTILE, about=HOSTILE, problem=HOSTILE, fix=HOSTILE)],
            ),
        ),
        findings=(
            Finding(
                code=HOSTILE,
                severity=Severity.NOTE,
                path=(HOSTILE,),
                message=HOSTILE,
                why=HOSTILE,
                fix=HOSTILE,
            ),
        ),
        failure=Failure(subject=HOSTILE, cause=HOSTILE, fix=HOSTILE, tail=(HOSTILE,)),
    )


def quick() -> Report:
    return replace(two_steps(), quick=True, runs=(), seconds=3.2)


def leaf_names(step: Node) -> list[str]:
    """The steps that a task runs."""
    return [name for inner in step.inner for name in leaf_names(inner)] or [step.name]


PAGES = {
    "two": two_steps,
    "nested": nested_foreach,
    "failed": failed,
    "sixty": sixty_steps,
    "quick": quick,
    "hostile": hostile,
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (folder / f"{name}.html").write_text(render_page(make()), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
