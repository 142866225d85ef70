"""What Argo asks: that names lead somewhere, and that a template is one thing."""

import re
from collections.abc import Iterator

from aicore_build.lint.finding import Severity
from aicore_build.lint.place import Place, kind_of, quoted
from aicore_build.lint.references import dependencies, reachable, target_of, unknown, unresolved
from aicore_build.lint.rule import Hit, RuleTable, elsewhere
from aicore_build.lint.template import (
    KINDS,
    containers,
    is_metaflow,
    is_substituted,
    name_of,
    step_groups,
    tasks,
    template_by_name,
    templates,
)
from aicore_build.settings import did_you_mean

TABLE = RuleTable()
rule = TABLE.rule

_DOCS = "https://argo-workflows.readthedocs.io/en/latest"
_FIELDS = f"Argo, [Field Reference]({_DOCS}/fields/)"
_VARIABLES = f"Argo, [Workflow Variables]({_DOCS}/variables/)"
_DAG = f"Argo, [DAG]({_DOCS}/walk-through/dag/)"
_VALIDATION = (
    "Argo's [validation](https://github.com/argoproj/argo-workflows/tree/main/workflow/validate)"
)
_REFUSED = "Argo refuses to run the workflow, when an execution starts."

_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]{0,127}")
_PARAMETER_NAME = re.compile(r"[-\w]+", re.ASCII)


@rule(
    "ARG001",
    Severity.ERROR,
    "The entrypoint is there",
    why=_REFUSED,
    fix="Name one of the templates in `spec.entrypoint`.",
    source=_FIELDS,
)
def entrypoint(document: Place) -> Iterator[Hit]:
    place = document["spec"]["entrypoint"]
    if not place.text:
        yield place, "spec.entrypoint is missing"
    elif template_by_name(document, place.text) is None:
        yield place, f"there is no template {quoted(place.text)}.{_near(document, place.text)}"


def _near(document: Place, name: str) -> str:
    return did_you_mean(name, [t["name"].text for t in document["spec"]["templates"].items()])


@rule(
    "ARG002",
    Severity.ERROR,
    "A template that is referred to is there",
    why=_REFUSED,
    fix="Correct the name, or add the template.",
    source=_FIELDS,
)
def template_references(document: Place) -> Iterator[Hit]:
    references = []
    for owner in (document["spec"], document["spec"]["templateDefaults"]):
        references += [owner["onExit"], *_hooks(owner)]
    for template in templates(document):
        references += [template["onExit"], *_hooks(template)]
        for task in tasks(template):
            references += [task["template"], task["onExit"], *_hooks(task)]
            yield from _runs_nothing(task)
    for place in references:
        name = place.text
        if name and not is_substituted(name) and template_by_name(document, name) is None:
            yield place, f"there is no template {quoted(name)}.{_near(document, name)}"


def _hooks(owner: Place) -> list[Place]:
    return [hook["template"] for _, hook in owner["hooks"].pairs()]


def _runs_nothing(task: Place) -> Iterator[Hit]:
    if not isinstance(task.value, dict):
        yield task, f"a task or step is {kind_of(task.value)}, not a table"
        return
    ways = [key for key in ("template", "templateRef", "inline") if task[key].value]
    if not ways:
        yield task, f"{name_of(task)} has no template, templateRef or inline"
    if len(ways) > 1:
        yield task, f"{name_of(task)} has {' and '.join(ways)}, of which there may be one"
    for key in ("name", "template"):
        if task["templateRef"] and not task["templateRef"][key].text:
            yield task["templateRef"], f"the templateRef of {name_of(task)} has no {key}"


@rule(
    "ARG003",
    Severity.ERROR,
    "A task that another depends on is there",
    why=_REFUSED,
    fix="Correct the name in `dependencies` or `depends`; a DAG uses only one of the two.",
    source=f"{_DAG}; [Enhanced Depends]({_DOCS}/enhanced-depends-logic/)",
)
def dependency_names(document: Place) -> Iterator[Hit]:
    for template in templates(document):
        names = [task["name"].text for task in template["dag"]["tasks"].items()]
        ways = set()
        for task in template["dag"]["tasks"].items():
            ways |= {key for key in ("dependencies", "depends") if task[key].value}
            for place, name in dependencies(task):
                if name not in names:
                    near = did_you_mean(name, names)
                    yield (
                        place,
                        f"{name_of(task)} depends on {quoted(name)}, which is not there.{near}",
                    )
        if len(ways) > 1:
            yield template["dag"], f"{name_of(template)} has both dependencies and depends"


@rule(
    "ARG004",
    Severity.ERROR,
    "Tasks don't wait for each other in a circle",
    why=f"{_REFUSED} None of them could ever start.",
    fix="Remove one of the dependencies.",
    source=_DAG,
)
def cycles(document: Place) -> Iterator[Hit]:
    for template in templates(document):
        graph = {
            task["name"].text: {name for _, name in dependencies(task)}
            for task in template["dag"]["tasks"].items()
        }
        circle = [name for name in graph if name in reachable(graph, name)]
        if circle:
            yield template["dag"], f"tasks wait for each other: {', '.join(circle)}"


rule(
    "ARG005",
    Severity.ERROR,
    "What a {{…}} names is there",
    why="Argo refuses to run the workflow, or passes the {{…}} on as it is written.",
    fix="Declare the parameter, correct the name, or add the dependency.",
    source=f"{_VARIABLES}; {_VALIDATION}",
)(unresolved)


_METAFLOWS_INPUT = "input-paths"
"""Of all that Metaflow's generators write, DAGs as well as steps."""


@rule(
    "ARG006",
    Severity.WARNING,
    "A parameter that is declared is used",
    why="Somebody binds a value to it, and nothing changes.",
    fix="Use it, or remove it. Metaflow's steps are not meant, whose inputs the plugin declares.",
    source=f"{_VARIABLES}; [SAP's documentation](https://github.com/SAP-docs/"
    "sap-artificial-intelligence) has an example with such a parameter: hence a warning",
)
def unused(document: Place) -> Iterator[Hit]:
    spec = document["spec"]
    of_entry = template_by_name(document, spec["entrypoint"].text)
    passed_on = _texts([of_entry["inputs"]["parameters"]] if of_entry else [])
    everywhere = _texts([spec])
    for parameter in spec["arguments"]["parameters"].items():
        name = parameter["name"].text
        used = _uses(everywhere, "workflow", name) or name in passed_on
        if name and not used:
            yield parameter, f"nothing uses the parameter {quoted(name)}"
    for template in templates(document):
        texts = [place.text for place in template.within() if "{{" in place.text]
        inputs = list(template["inputs"]["parameters"].items())
        of_metaflow = any(parameter["name"].text == _METAFLOWS_INPUT for parameter in inputs)
        if of_metaflow or any(is_metaflow(container) for container in containers(template)):
            continue
        for parameter in inputs:
            name = parameter["name"].text
            if name and not _uses(texts, "inputs", name):
                yield parameter, f"{name_of(template)} doesn't use its input {quoted(name)}"


def _texts(places: list[Place]) -> list[str]:
    return [text for place in places for inner in place.within() if (text := inner.text)]


def _uses(texts: list[str], root: str, name: str) -> bool:
    """Whether one of them names a parameter, in a {{…}} or an expression, or all of them."""
    exact = re.escape(name)
    use = re.compile(
        rf"\{{\{{[^{{}}]*\b{root}\.parameters"
        rf"(?:\s*\}}\}}|\.{exact}(?![\w-])|\[\s*[\"']{exact}[\"']\s*\]|\s*[^.\[\s])"
    )
    return any("{{" in text and use.search(text) for text in texts)


@rule(
    "ARG007",
    Severity.ERROR,
    "A template gets the parameters that it needs",
    why=_REFUSED,
    fix="Give it a value at `arguments.parameters` of the task, or a `default` at the input.",
    source=f"Argo, [Parameters]({_DOCS}/walk-through/parameters/); {_VALIDATION}",
)
def missing_arguments(document: Place) -> Iterator[Hit]:
    for template in templates(document):
        for task in tasks(template):
            target = target_of(document, task)
            given = {p["name"].text for p in task["arguments"]["parameters"].items()}
            for parameter in _needed(target):
                if parameter["name"].text not in given:
                    wanted = f"{quoted(parameter['name'].text)} of {name_of(target or task)}"
                    yield task, f"{name_of(task)} gives no value to the input {wanted}"


def _needed(template: Place | None) -> Iterator[Place]:
    """The inputs that a template has no value for itself."""
    for parameter in template["inputs"]["parameters"].items() if template else ():
        if not any(parameter[key] for key in ("value", "default", "valueFrom")):
            yield parameter


@rule(
    "ARG008",
    Severity.WARNING,
    "The entrypoint's inputs are parameters of the workflow",
    why="AI Core binds values to `spec.arguments.parameters`; an input of the entrypoint that is "
    "not there gets none.",
    fix="Add it to `spec.arguments.parameters`, or give it a `default`.",
    source=f"Argo, [Parameters]({_DOCS}/walk-through/parameters/). SAP AI Core, [Consume mTLS "
    "Certificate Secrets](https://github.com/SAP-docs/sap-artificial-intelligence/blob/main/docs/"
    "sap-ai-core/consume-mtls-certificate-secrets-6845793.md) has an example without: hence a "
    "warning",
)
def entrypoint_inputs(document: Place) -> Iterator[Hit]:
    spec = document["spec"]
    given = {p["name"].text for p in spec["arguments"]["parameters"].items()}
    for parameter in _needed(template_by_name(document, spec["entrypoint"].text)):
        if parameter["name"].text not in given:
            yield parameter, f"nobody gives a value to {quoted(parameter['name'].text)}"


@rule(
    "ARG009",
    Severity.ERROR,
    "Names are given once",
    why=_REFUSED,
    fix="Rename one of them. For a flow: steps need names that differ in more than case and '_'.",
    source=_VALIDATION,
)
def duplicates(document: Place) -> Iterator[Hit]:
    spec = document["spec"]
    yield from _repeated("template", spec["templates"].items())
    yield from _repeated("parameter", spec["arguments"]["parameters"].items())
    for template in templates(document):
        yield from _repeated("task", template["dag"]["tasks"].items())
        yield from _repeated("step", (s for group in step_groups(template) for s in group.items()))
        for way in ("inputs", "outputs"):
            yield from _repeated(f"{way[:-1]} parameter", template[way]["parameters"].items())
            yield from _repeated(f"{way[:-1]} artifact", template[way]["artifacts"].items())
        for task in tasks(template):
            yield from _repeated("argument", task["arguments"]["parameters"].items())


def _repeated(what: str, places: Iterator[Place]) -> Iterator[Hit]:
    seen: set[str] = set()
    for place in places:
        name = place["name"].text
        if name and name in seen:
            yield place, f"there are two: {what} {name}"
        seen.add(name)


@rule(
    "ARG010",
    Severity.ERROR,
    "Names are ones that Argo takes",
    why=_REFUSED,
    fix="Templates, tasks and steps have up to 128 letters, digits and hyphens, the first of them "
    "no hyphen; parameters and artifacts may have '_' too.",
    source=_VALIDATION,
)
def names(document: Place) -> Iterator[Hit]:
    spec = document["spec"]
    strict = [(t, "template") for t in spec["templates"].items()]
    free = [(p, "parameter") for p in spec["arguments"]["parameters"].items()]
    for template in templates(document):
        strict += [(task, "task or step") for task in tasks(template)]
        for way in ("inputs", "outputs"):
            free += [(p, "parameter") for p in template[way]["parameters"].items()]
            free += [(a, "artifact") for a in template[way]["artifacts"].items() if a["name"]]
    for places, form in ((strict, _NAME), (free, _PARAMETER_NAME)):
        for place, what in places:
            name = place["name"]
            if not name and isinstance(place.value, dict):
                yield place, f"a {what} has no name"
            elif name and not form.fullmatch(name.text) and not is_substituted(name.text):
                yield name, f"{quoted(name.value)} is no name of a {what}"


@rule(
    "ARG011",
    Severity.ERROR,
    "A template is one thing",
    why=_REFUSED,
    fix="Give it exactly one of container, script, dag, steps, containerSet and so on.",
    source=_FIELDS,
)
def one_kind(document: Place) -> Iterator[Hit]:
    if not any(True for _ in document["spec"]["templates"].items()):
        yield document["spec"]["templates"], "there are no templates"
    for template in templates(document):
        kinds = [key for key, _ in template.pairs() if key in KINDS]
        if len(kinds) != 1:
            found = f"{', '.join(kinds)}" if kinds else "nothing to run"
            yield template, f"{name_of(template)} has {found}"


rule(
    "ARG012",
    Severity.WARNING,
    "A {{…}} is one that Argo knows",
    why="Argo refuses to run the workflow, unless it leaves the text as it is.",
    fix="Correct it; what is meant for another program, write so that no {{ is in it.",
    source=_VARIABLES,
)(unknown)


@rule(
    "ARG013",
    Severity.ERROR,
    "A text's {{ has its }}",
    why="Argo can't read the text: 'Cannot find end tag'.",
    fix="Close it, or write the text so that no {{ is in it.",
    source=f"{_VARIABLES}; {_VALIDATION}",
)
def unclosed(document: Place) -> Iterator[Hit]:
    for place in document["spec"]["templates"].within():
        if "{{" in place.text and "}}" not in place.text[place.text.rindex("{{") :]:
            yield place, "a {{ is not closed"


rule(
    "ARG101",
    Severity.ERROR,
    "Values have the types that Argo reads",
    why="Argo can't read the workflow template, and says so nowhere that you see.",
    fix="Give it the type that is asked for; text is written in quotes, numbers without.",
    source=f"{_FIELDS}, by the models of [hera](https://hera.readthedocs.io/) that are made from "
    "Argo's OpenAPI specification",
)(elsewhere)

rule(
    "ARG102",
    Severity.WARNING,
    "Keys are ones that Argo knows",
    why="Argo ignores others: a typing error changes nothing, and says nothing.",
    fix="Correct or remove it.",
    source=f"{_FIELDS}, as ARG101. [SAP's samples](https://github.com/SAP-samples/"
    "btp-industry-use-cases) have such keys: hence a warning",
)(elsewhere)
