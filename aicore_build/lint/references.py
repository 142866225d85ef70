"""The `{{…}}` of a workflow template: what they name, and whether that is there."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aicore_build.lint.place import Place
from aicore_build.lint.template import step_groups, tasks, template_by_name, templates

_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_WORKFLOW_FIELDS = {
    "annotations",
    "creationTimestamp",
    "duration",
    "failures",
    "labels",
    "mainEntrypoint",
    "name",
    "namespace",
    "outputs",
    "parameters",
    "priority",
    "scheduledTime",
    "serviceAccountName",
    "status",
    "uid",
}
_OF_THE_POD = {
    "duration",
    "exitCode",
    "lastRetry",
    "node",
    "outputs",
    "pod",
    "resourcesDuration",
    "retries",
    "status",
}
"""First parts of what Argo knows in a template, apart from what the functions below check."""

_TASK_FIELDS = {
    "exitCode",
    "finishedAt",
    "hostNodeName",
    "id",
    "ip",
    "name",
    "outputs",
    "startedAt",
    "status",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """One `{{…}}`, without an expression."""

    place: Place
    """The text that holds it."""

    parts: tuple[str, ...]
    """`("tasks", "train", "outputs", "parameters", "task-id")`"""

    def __str__(self) -> str:
        return f"{{{{{'.'.join(self.parts)}}}}}"


def tags_in(places: Iterator[Place]) -> Iterator[Tag]:
    """The tags of texts, without those that are expressions (`{{=…}}`)."""
    for place in places:
        for inner in _TAG.findall(place.text):
            if not inner.lstrip().startswith("="):
                yield Tag(place=place, parts=tuple(inner.strip().split(".")))


def unresolved(document: Place) -> Iterator[tuple[Place, str]]:
    """The tags that name what is not there."""
    parameters = _names(document["spec"]["arguments"]["parameters"])
    for tag in tags_in(document["spec"].within()):
        match tag.parts:
            case ("workflow", "parameters", *rest) if rest and ".".join(rest) not in parameters:
                yield tag.place, f"{tag} is not declared in spec.arguments.parameters"
    for template in templates(document):
        yield from _unresolved_inputs(template)
        yield from _unresolved_tasks(document, template)


def unknown(document: Place) -> Iterator[tuple[Place, str]]:
    """The tags that Argo gives no meaning."""
    roots = {"workflow", "inputs", "item", "steps", "tasks", *_OF_THE_POD}
    spec = document["spec"]
    for tag in tags_in(spec.within()):
        root, *rest = tag.parts
        of_workflow = root != "workflow" or (rest and rest[0] in _WORKFLOW_FIELDS)
        if root not in roots or not of_workflow:
            yield tag.place, f"Argo knows no {tag}"


def _own_texts(template: Place) -> Iterator[Place]:
    """The texts of a template, without those of templates inside it."""
    yield from template.within(without=("inline",))


def _names(places: Place) -> set[str]:
    return {place["name"].text for place in places.items()}


def _unresolved_inputs(template: Place) -> Iterator[tuple[Place, str]]:
    for tag in tags_in(_own_texts(template)):
        match tag.parts:
            case (("inputs" | "outputs") as way, ("parameters" | "artifacts") as kind, name, *_):
                if name not in _names(template[way][kind]):
                    where = f"the {way} of {template['name'].text or 'the template'}"
                    yield tag.place, f"{tag}: {where} declare no such {kind.removesuffix('s')}"
            case _:
                pass


def _unresolved_tasks(document: Place, template: Place) -> Iterator[tuple[Place, str]]:
    """Names of tasks and steps, and `{{item}}`."""
    root = "tasks" if template["dag"] else "steps" if template["steps"] else None
    before = _done_before(template)
    for task in tasks(template):
        own = task["name"].text
        for tag in tags_in(_own_texts(task)):
            if tag.parts[0] == "item" and not _loops(task):
                yield tag.place, f"{tag}, but {own} has no withItems, withParam or withSequence"
            hook = "hooks" in tag.place.path or "onExit" in tag.place.path
            known = before.get(own, set()) | ({own} if hook else set())
            yield from _task_faults(document, template, tag, root, known)
    everything = set(before)
    rest = template.within(without=("inline", "dag", "steps"))
    for tag in tags_in(rest):
        if tag.parts[0] == "item" and "inline" not in template.path:
            yield tag.place, f"{tag} is known to the task that loops; pass it on as an input"
        yield from _task_faults(document, template, tag, root, everything)


def _task_faults(
    document: Place, template: Place, tag: Tag, root: str | None, known: set[str]
) -> Iterator[tuple[Place, str]]:
    first, *rest = tag.parts
    if first not in ("tasks", "steps") or rest == ["name"]:
        return
    if first != root:
        yield tag.place, f"{tag}, but there are no {first} here"
        return
    task = next((t for t in tasks(template) if rest and t["name"].value == rest[0]), None)
    singular = first.removesuffix("s")
    if task is None:
        yield tag.place, f"{tag} names a {singular} that is not there"
    elif rest[0] not in known:
        yield tag.place, f"{tag} names a {singular} that is not done before"
    elif fault := _output_fault(document, task, rest[1:]):
        yield tag.place, f"{tag}: {fault}"


def _output_fault(document: Place, task: Place, parts: list[str]) -> str | None:
    """What is wrong with `outputs.parameters.x` of a task; None where nothing is, or is known."""
    if not parts or parts[0] not in _TASK_FIELDS:
        return f"a task has no {'.'.join(parts) or 'value'}"
    match parts:
        case ["outputs", ("parameters" | "artifacts") as kind, name, *_]:
            target = target_of(document, task)
            if target and name not in _names(target["outputs"][kind]):
                return f"{target['name'].text or 'the template'} has no such output"
        case ["outputs", ("parameters" | "result" | "exitCode"), *_]:
            pass
        case ["outputs", *_]:
            return "there are outputs.parameters, outputs.artifacts and outputs.result"
        case _:
            pass
    return None


def target_of(document: Place, task: Place) -> Place | None:
    """The template that a task runs; None where it isn't in the document."""
    if task["inline"]:
        return task["inline"]
    return template_by_name(document, task["template"].text) if task["template"] else None


def _loops(task: Place) -> bool:
    return any(task[key] for key in ("withItems", "withParam", "withSequence"))


_DEPENDS = re.compile(r"[A-Za-z0-9][\w-]*(?:\.[A-Za-z]+)?")


def dependencies(task: Place) -> list[tuple[Place, str]]:
    """The names of the tasks that have to end before, and where they are written."""
    listed = [(place, place.text) for place in task["dependencies"].items()]
    depends = task["depends"]
    named = [(depends, found.partition(".")[0]) for found in _DEPENDS.findall(depends.text)]
    return listed + named


def _done_before(template: Place) -> dict[str, set[str]]:
    """By task or step: what has ended before it starts."""
    if template["steps"]:
        done: set[str] = set()
        before: dict[str, set[str]] = {}
        for group in step_groups(template):
            names = _names(group)
            before |= {name: set(done) for name in names}
            done |= names
        return before
    direct = {
        task["name"].text: {name for _, name in dependencies(task)} for task in tasks(template)
    }
    return {name: reachable(direct, name) for name in direct}


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """All that a node leads to; itself only where there is a cycle."""
    found: set[str] = set()
    waiting = list(graph.get(start, ()))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph.get(name, ())
    return found
