"""What becomes of each of Metaflow's features on SAP AI Core, by generator. Pure.

One list, from which flows are judged and docs/flows.md has its table.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aicore_build.errors import FlowError
from aicore_build.flow import ELSEWHERE, PACKAGED_BY, Flow, Step
from aicore_build.libraries import other_pythons, step_libraries
from aicore_build.resource_plans import ask_of, find_plan, smallest_plan
from aicore_build.settings import GeneratorName, Settings

RESOURCE_PLAN = "ai.sap.com/resourcePlan"
INSTANCE_TYPE = "ai.sap.com/instanceType"


class Verdict(StrEnum):
    """What becomes of a feature."""

    SUPPORTED = "supported"
    WARNED = "warned"
    REFUSED = "refused"
    ABSENT = "not in that Metaflow"


Find = Callable[[Flow, Settings], Iterable[str]]
"""Finds a feature in a flow: a sentence for each use that there is something to say about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A feature of Metaflow."""

    name: str
    outcome: str
    """What becomes of it, for the documentation."""

    sap: Verdict = Verdict.SUPPORTED
    """With the plugin sap-ai-core-metaflow, on Metaflow 2.12."""

    metaflow: Verdict = Verdict.SUPPORTED
    """With upstream Metaflow's own generator, on Metaflow 2.19."""

    find: Find | None = None
    """None where there is nothing to say about it."""

    def verdict(self, flow: Flow, settings: Settings) -> Verdict:
        """With the generator of this flow."""
        return self.sap if uses_plugin(flow, settings) else self.metaflow


def uses_plugin(flow: Flow, settings: Settings) -> bool:
    """Whether SAP's plugin generates the workflow template; else Metaflow itself."""
    if settings.generator is None:
        return flow.plugin_version is not None
    return settings.generator is GeneratorName.SAP


def judge(flow: Flow, settings: Settings) -> tuple[str, ...]:
    """Say what of a flow is otherwise on SAP AI Core than the flow has it.

    Raises:
        FlowError: the flow has what can't run there; all of it is named.
    """
    notes, refused = [], []
    for feature in FEATURES:
        said = list(feature.find(flow, settings)) if feature.find else []
        match feature.verdict(flow, settings):
            case Verdict.REFUSED:
                refused += said
            case Verdict.WARNED:
                notes += said
    if refused:
        raise FlowError("\n".join(refused))
    if flow.stubs:
        notes.append(
            f"not installed here, so stand-ins took their place: {', '.join(flow.stubs)}. "
            "The images need them: see the setting requirements."
        )
    return tuple(notes)


def _at(flow: Flow, name: str) -> tuple[Step, ...]:
    return tuple(step for step in flow.steps if name in step.decorators)


def _names(steps: Iterable[Step]) -> str:
    names = [step.name for step in steps]
    return f"{'step' if len(names) == 1 else 'steps'} {', '.join(names)}"


def _script(flow: Flow, _: Settings) -> Iterator[str]:
    if not re.fullmatch(r"\w[\w.-]*", flow.script.name):
        yield (
            f"The file name {flow.script.name!r} has characters that a shell takes apart, and the "
            "steps' commands have it as it is: rename the file."
        )


def _parallel(flow: Flow, _: Settings) -> Iterator[str]:
    steps = [step for step in flow.steps if step.parallel]
    if steps:
        yield (
            f"@parallel or num_parallel at {_names(steps)}: SAP AI Core runs each step in one pod, "
            "never in several that talk to each other. Use foreach, or one pod with more GPUs."
        )


def _loops(flow: Flow, _: Settings) -> Iterator[str]:
    order = {step.name: number for number, step in enumerate(flow.steps)}
    for step in flow.steps:
        back = [name for name in step.next if order[name] <= order[step.name]]
        if back:
            yield (
                f"Step {step.name} goes back to {', '.join(back)}: a loop, which the workflow "
                "template would have as templates that call themselves."
            )


def _elsewhere(flow: Flow, _: Settings) -> Iterator[str]:
    for name, place in ELSEWHERE.items():
        if steps := _at(flow, name):
            yield (
                f"@{name} at {_names(steps)} sends it to {place}: SAP AI Core runs every step "
                "itself. Remove it."
            )


def _foreign(flow: Flow, _: Settings) -> Iterator[str]:
    names = dict.fromkeys((*flow.foreign, *(n for step in flow.steps for n in step.foreign)))
    for name in names:
        if name not in ELSEWHERE:
            steps = [step for step in flow.steps if name in step.foreign]
            where = _names(steps) if steps else "the flow"
            yield (
                f"@{name} at {where} comes from an extension of Metaflow: its code is packed with "
                "the flow, but what it imports has to be in the image."
            )


_OF_THE_CLUSTER = (
    "service_account",
    "node_selector",
    "tolerations",
    "image_pull_policy",
    "use_tmpfs",
    "security_context",
    "extended_resources",
)


def _of_the_cluster(flow: Flow, _: Settings) -> Iterator[str]:
    for step in _at(flow, "kubernetes"):
        given = [key for key in _OF_THE_CLUSTER if step.decorators["kubernetes"].get(key)]
        if given:
            yield (
                f"@kubernetes({', '.join(f'{key}=…' for key in given)}) at step {step.name}: SAP "
                "AI Core decides these itself."
            )


def _volumes(flow: Flow, _: Settings) -> Iterator[str]:
    for step in _at(flow, "kubernetes"):
        for key in ("persistent_volume_claims", "compute_pool"):
            if step.decorators["kubernetes"].get(key):
                yield (
                    f"@kubernetes({key}=…) at step {step.name}: SAP AI Core's cluster has none "
                    "that a flow can name. Keep data in S3, and choose a resource plan."
                )


def resource_plan(step: Step, settings: Settings) -> str | None:
    """The resource plan that a step gets; None where nothing names one."""
    own = settings.steps[step.name].resource_plan if step.name in settings.steps else None
    labels = step.decorators.get("argo", {}).get("labels") or {}
    from_flow = labels.get(RESOURCE_PLAN) if isinstance(labels, dict) else None
    return own or from_flow or settings.resource_plan


def _resources(flow: Flow, settings: Settings) -> Iterator[str]:
    for step in flow.steps:
        ask = ask_of(step)
        labels = step.decorators.get("argo", {}).get("labels") or {}
        if ask is None or INSTANCE_TYPE in labels:
            continue
        chosen = resource_plan(step, settings)
        known = find_plan(chosen) if chosen else None
        if (known and ask.fits(known)) or (chosen and known is None):
            continue
        smallest = smallest_plan(ask)
        advice = (
            f"{smallest.name} is the smallest that fits: steps.{step.name}.resource-plan"
            if smallest
            else "none is that large"
        )
        yield (
            f"step {step.name} asks for {ask}. SAP AI Core goes by the resource plan, here "
            f"{chosen or 'none'}; {advice}."
        )


def _conda(flow: Flow, _: Settings) -> Iterator[str]:
    steps = [s for s in _at(flow, "conda") if s.decorators["conda"]["packages"]]
    steps = [s for s in steps if not s.decorators["conda"].get("disabled")]
    if steps:
        packages = sorted({name for s in steps for name in step_libraries(s)})
        yield (
            f"@conda at {_names(steps)}: {', '.join(packages)} will be installed by pip, under "
            "the same names. Where PyPI has another name, use @pypi."
        )


def _other_python(flow: Flow, settings: Settings) -> Iterator[str]:
    if settings.base_image:
        return
    for step, version in other_pythons(flow):
        yield (
            f"step {step.name} asks for Python {version}, but its image has the flow's, "
            f"{flow.python_version}: set base-image and python to have another."
        )


def _schedule(flow: Flow, _: Settings) -> Iterator[str]:
    if "schedule" in flow.decorators:
        yield "@schedule has no effect: SAP AI Core schedules executions itself, through AI API."


def _schedule_with_required(flow: Flow, _: Settings) -> Iterator[str]:
    bare = [
        parameter.name
        for parameter in flow.parameters
        if parameter.required and not parameter.has_default and parameter.kind != "Config"
    ]
    if "schedule" in flow.decorators and bare:
        yield (
            f"@schedule with the required parameters {', '.join(bare)}, which have no default: "
            "remove @schedule, which has no effect, or give them defaults."
        )


def _trigger(flow: Flow, _: Settings) -> Iterator[str]:
    for name in ("trigger", "trigger_on_finish"):
        if name in flow.decorators:
            yield f"@{name} has no effect: SAP AI Core starts an execution only when it is told to."


def _project(flow: Flow, settings: Settings) -> Iterator[str]:
    if "project" in flow.decorators:
        yield (
            f"@project: the workflow template is {flow.name.lower()} in every branch, so that one "
            "takes the place of the other; --branch and --production don't reach the steps."
            if uses_plugin(flow, settings)
            else "@project: each branch has a workflow template of its own, and so an executable."
        )


def _exit_hook(flow: Flow, _: Settings) -> Iterator[str]:
    if "exit_hook" in flow.decorators:
        yield "@exit_hook can't run: SAP AI Core's workflow templates have no hooks. Remove it."


_IN_THE_STEP = ("catch", "card", "secrets")


def _added(flow: Flow, _: Settings) -> Iterator[str]:
    for name in _IN_THE_STEP:
        steps = [step for step in flow.steps if name in step.added]
        if steps:
            yield (
                f"--with {name} has no effect inside {_names(steps)}: the plugin doesn't hand it "
                f"on. Write @{name} into the flow."
            )


def argo_artifacts(step: Step, key: str) -> tuple[Mapping[str, Any], ...]:
    """The artifacts of a step's @argo.

    Args:
        step: with or without @argo.
        key: input_artifacts or output_artifacts.

    Raises:
        FlowError: they are not a list of dicts.
    """
    artifacts = step.decorators.get("argo", {}).get(key) or []
    if not isinstance(artifacts, list) or not all(isinstance(a, Mapping) for a in artifacts):
        raise FlowError(
            f"The {key} of @argo at step {step.name} are not a list of dicts.\n"
            f'Write @argo({key}=[{{"name": "model", "path": "/tmp/model"}}]).'
        )
    return tuple(artifacts)


def _artifact_kind(flow: Flow, settings: Settings) -> Iterator[str]:
    for step in _at(flow, "argo"):
        for artifact in argo_artifacts(step, "output_artifacts"):
            name, given = artifact.get("name"), artifact.get("globalName")
            if not given:
                yield (
                    f"the output artifact {name} of step {step.name} has no globalName: SAP AI "
                    "Core doesn't register it."
                )
            elif f"artifacts.ai.sap.com/{given}.kind" not in settings.annotations:
                yield (
                    f"the output artifact {given} of step {step.name} is registered as a model; "
                    f'another kind: annotations."artifacts.ai.sap.com/{given}.kind".'
                )


W, R, A = Verdict.WARNED, Verdict.REFUSED, Verdict.ABSENT

FEATURES = (
    Feature(name="branches, `foreach`, nested `foreach`", outcome="as Metaflow runs them"),
    Feature(name="switch: `self.next({…}, condition=…)`", outcome="as Metaflow runs it", sap=A),
    Feature(
        name="a switch back to an earlier step",
        outcome="the workflow template would call itself",
        sap=A,
        metaflow=R,
        find=_loops,
    ),
    Feature(
        name="`@parallel`, `num_parallel`",
        outcome="a step runs in one pod",
        sap=R,
        metaflow=R,
        find=_parallel,
    ),
    Feature(name="inherited steps", outcome="as Metaflow runs them", sap=A),
    Feature(name="`FlowMutator`, `StepMutator`", outcome="applied before anything is read", sap=A),
    Feature(name="`@user_step_decorator`", outcome="its code is packed with the flow", sap=A),
    Feature(
        name="`Config`, `config_expr`",
        outcome="values of the time of `dev` and `prod`; `--config` behind `--`",
        sap=A,
    ),
    Feature(
        name="`Parameter`",
        outcome="a parameter of the workflow template; without a default, AI Core's configuration "
        "has to bind it",
    ),
    Feature(name="`IncludeFile`", outcome="the file is uploaded to S3 by the generator"),
    Feature(
        name="a file name with spaces, quotes and the like",
        outcome="the steps' commands don't quote it",
        sap=R,
        metaflow=R,
        find=_script,
    ),
    Feature(name="`@kubernetes(image=…, secrets=…)`", outcome="the image; `envFrom`"),
    Feature(
        name="`@resources`, `@kubernetes(cpu=…, memory=…, gpu=…)`",
        outcome="AI Core goes by the resource plan; noted where it is smaller, with the smallest "
        "that fits",
        sap=W,
        metaflow=W,
        find=_resources,
    ),
    Feature(
        name="`@kubernetes(node_selector=…, tolerations=…, service_account=…, …)`",
        outcome="AI Core decides these itself",
        sap=W,
        metaflow=W,
        find=_of_the_cluster,
    ),
    Feature(
        name="`@kubernetes(persistent_volume_claims=…, compute_pool=…)`",
        outcome="the cluster has none that a flow can name",
        sap=R,
        metaflow=R,
        find=_volumes,
    ),
    Feature(name="`@environment`", outcome="variables of the container, all as text"),
    Feature(name="`@timeout`", outcome="the pod's deadline"),
    Feature(name="`@retry`", outcome="Argo's retries"),
    Feature(name="`@catch`", outcome="Argo's retries; the last one only records the failure"),
    Feature(name="`@card`", outcome="kept with the step's data in S3"),
    Feature(name="`@secrets`", outcome="fetched by the step, with the pod's own credentials"),
    Feature(
        name="`@pypi`, `@pypi_base`",
        outcome="their packages are the image's libraries; nothing is solved or fetched when a "
        "step runs",
    ),
    Feature(
        name="`@conda`, `@conda_base`",
        outcome="the same, by pip under the same names",
        sap=W,
        metaflow=W,
        find=_conda,
    ),
    Feature(
        name="`@pypi(python=…)`, `@conda(python=…)`",
        outcome="the image has the flow's Python; noted where the versions differ",
        sap=W,
        metaflow=W,
        find=_other_python,
    ),
    Feature(name="`@argo(labels=…, input_artifacts=…)`", outcome="the plugin's own", metaflow=A),
    Feature(
        name="`@argo(output_artifacts=…)`",
        outcome="registered by their `globalName`, as a model unless `annotations` say otherwise",
        sap=W,
        metaflow=A,
        find=_artifact_kind,
    ),
    Feature(
        name="`@schedule`",
        outcome="no effect: AI Core schedules executions itself",
        sap=W,
        metaflow=W,
        find=_schedule,
    ),
    Feature(
        name="`@schedule` and a required parameter without a default",
        outcome="neither generator makes it",
        sap=R,
        metaflow=R,
        find=_schedule_with_required,
    ),
    Feature(
        name="`@trigger`, `@trigger_on_finish`",
        outcome="no effect: an execution starts only when AI Core is told to",
        sap=W,
        metaflow=W,
        find=_trigger,
    ),
    Feature(
        name="`@project`",
        outcome="`sap`: one name for all branches, the last one generated wins; `metaflow`: a name "
        "for each",
        sap=W,
        metaflow=W,
        find=_project,
    ),
    Feature(
        name="`@exit_hook`",
        outcome="workflow templates have no hooks there",
        sap=A,
        metaflow=R,
        find=_exit_hook,
    ),
    Feature(
        name="`@batch`, `@slurm`, `@nvidia`, `@snowpark`, …",
        outcome="the step would run elsewhere",
        sap=R,
        metaflow=R,
        find=_elsewhere,
    ),
    Feature(
        name="decorators of other extensions",
        outcome="packed with the code; what they import has to be in the image",
        sap=W,
        metaflow=W,
        find=_foreign,
    ),
    Feature(
        name="`--with catch`, `--with card`, `--with secrets`",
        outcome="the plugin's commands don't hand them on to the steps",
        sap=W,
        find=_added,
    ),
    Feature(
        name="`--with` of other decorators",
        outcome="as if written at every step that hasn't its own",
    ),
)


def as_table() -> str:
    """The table of docs/flows.md."""
    lines = ["| | `sap` | `metaflow` | |", "|---|---|---|---|"]
    lines += [f"| {f.name} | {f.sap} | {f.metaflow} | {f.outcome} |" for f in FEATURES]
    return "\n".join(lines)


def uses_packages(step: Step) -> bool:
    """Whether @pypi or @conda names packages for a step."""
    found = (step.decorators.get(name, {}) for name in PACKAGED_BY)
    return any(each.get("packages") and not each.get("disabled") for each in found)
