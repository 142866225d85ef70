"""`aicore-build verify`: read, lint, fetch the images, ask them, run the workflow, report."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aicore_build.errors import LockError, VerifyError
from aicore_build.lint import check_structure, lint
from aicore_build.lint.aicore import KIND
from aicore_build.lint.documents import UnreadableError, read_documents
from aicore_build.lint.finding import Finding, Severity
from aicore_build.lint.rules import check_codes
from aicore_build.lock import Lock, lock_path, read_lock
from aicore_build.parallel import in_parallel
from aicore_build.progress import DONE, Reporter
from aicore_build.resource_plans import find_plan
from aicore_build.run import make_client
from aicore_build.settings import Settings
from aicore_build.verify.argo import Workflow, bind_parameters, parse_workflow
from aicore_build.verify.checks import check_image
from aicore_build.verify.explain import explain
from aicore_build.verify.images import Image, fetch_images
from aicore_build.verify.options import Options
from aicore_build.verify.pods import Pods
from aicore_build.verify.rehearsal import StepFailedError, rehearse
from aicore_build.verify.report import Failure, ImageReport, Report
from aicore_build.verify.runs import Runs
from aicore_build.verify.secrets import Secrets, find_secrets
from aicore_build.verify.store import check_store
from aicore_build.workflow import Json

_PLATFORM = "linux/amd64"
"""AI Core's, whatever the images were built for."""


def verify(path: Path, settings: Settings, options: Options, reporter: Reporter) -> Report:
    """Run a workflow template on this machine's Docker Engine as AI Core would.

    Args:
        path: the workflow template's file.
        settings: name the object store's secret, and how registries are reached.
        options: of the command line.
        reporter: is told of progress, and of each line that a step says.

    Raises:
        VerifyError: it can't be read, or has what is not known here.
        EngineError, RegistryError: one of the two gave no answer.
    """
    began = time.monotonic()
    document = _read(path)
    ignore = check_codes(settings.lint_ignore)
    found = (*lint(document, ignore=ignore), *check_structure(document))
    findings = tuple(finding for finding in found if finding.code not in ignore)
    if any(finding.severity is Severity.ERROR for finding in findings):
        return _report(path, document, options, began, findings)
    workflow = parse_workflow(document)
    parameters, secrets = _bind(workflow, settings, options)
    with Pods() as pods:
        reporter.phase("images", "fetching")
        images = fetch_images(workflow, make_client(settings), _PLATFORM, reporter)
        lock = _lock(path)

        def check(image: Image) -> ImageReport:
            return check_image(image, pods, _PLATFORM, lock)

        reporter.phase("images", "asking what is in them")
        checked = tuple(in_parallel(check, images, settings.jobs))
        bad = any(check.problem for image in checked for check in image.checks)
        reporter.phase("images", f"{DONE}: {'problems found' if bad else 'steps can run in them'}")
        runs = Runs(
            images,
            pods,
            secrets,
            options,
            reporter,
            began=began,
            deadline=workflow.deadline,
        )
        failure = None
        if not (options.quick or bad):
            failure = check_store(images, pods, secrets, runs.network) or _rehearse(
                workflow, parameters, secrets, runs, settings.jobs
            )
    if options.logs:
        runs.write_logs(options.logs)
    return _report(
        path,
        document,
        options,
        began,
        findings,
        notes=_notes(workflow, options),
        images=checked,
        graph=workflow.graph(),
        runs=runs.sorted(),
        failure=failure,
    )


def _report(
    path: Path,
    document: Json,
    options: Options,
    began: float,
    findings: tuple[Finding, ...],
    **found: Any,  # noqa: ANN401 - fields of Report
) -> Report:
    nothing = {"notes": (), "images": (), "graph": (), "runs": (), "failure": None}
    return Report(
        name=str((document.get("metadata") or {}).get("name")),
        template=path,
        quick=options.quick,
        seconds=time.monotonic() - began,
        findings=findings,
        **{**nothing, **found},
    )


def _read(path: Path) -> Json:
    try:
        documents = read_documents(str(path), path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VerifyError(
            f"There is no workflow template {path}.\n"
            "`aicore-build prod` writes it; or name the file: aicore-build verify FILE."
        ) from None
    except (OSError, UnicodeDecodeError, UnreadableError) as error:
        raise VerifyError(f"{path} can't be read: {error}.") from error
    found = [
        d.value for d in documents if isinstance(d.value, dict) and d.value.get("kind") == KIND
    ]
    if len(found) != 1:
        raise VerifyError(
            f"{path} holds {len(found)} workflow templates, where it should be one.\n"
            "Name another file: aicore-build verify FILE."
        )
    return found[0]


def _lock(path: Path) -> Lock | None:
    """The lock beside it, if that speaks of this file."""
    try:
        lock = read_lock(lock_path(path))
    except LockError:
        return None
    return lock if lock.template == path.name else None


def _bind(
    workflow: Workflow, settings: Settings, options: Options
) -> tuple[dict[str, str], Secrets]:
    """What is needed to run the steps, before anything is fetched; nothing where none is run."""
    if options.quick:
        return {}, {}
    parameters = bind_parameters(workflow, options.parameters)
    needed = dict.fromkeys(name for step in workflow.steps for name in step.needed_secrets)
    if unused := [name for name in options.secrets if name not in needed]:
        raise VerifyError(
            f"No step has the secret {', '.join(unused)}.\n"
            f"They have: {', '.join(needed) or 'none'}."
        )
    return parameters, find_secrets(needed, options.secrets, settings.object_store_secret)


def _notes(workflow: Workflow, options: Options) -> tuple[str, ...]:
    """What is not as on AI Core."""
    if options.quick:
        return ()
    plans = {step.resource_plan for step in workflow.steps}
    known = {name: find_plan(name) for name in plans if name}
    gpus = sorted(name for name, plan in known.items() if plan and plan.gpus)
    notes = []
    if gpus:
        notes.append(f"The GPU of {', '.join(gpus)} was not there.")
    if without := [step.name for step in workflow.steps if not step.resource_plan]:
        notes.append(f"No resource plan, so no limit of memory or CPU: {', '.join(without)}.")
    if any(step.retries for step in workflow.steps):
        notes.append("The pauses between attempts were left out.")
    return tuple(notes)


def _rehearse(
    workflow: Workflow,
    parameters: Mapping[str, str],
    secrets: Secrets,
    runs: Runs,
    jobs: int,
) -> Failure | None:
    try:
        rehearse(workflow, parameters, secrets, runs, jobs)
    except StepFailedError as error:
        step = error.attempt.step
        return explain(
            error.attempt.label,
            error.ended,
            step.resource_plan,
            step.deadline,
            workflow.deadline,
        )
    return None
