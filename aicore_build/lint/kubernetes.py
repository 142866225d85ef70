"""What Kubernetes asks of the names, labels, annotations and containers of a workflow template."""

import json
import re
from collections.abc import Iterator
from typing import Final

from aicore_build.lint.aicore import MANDATORY
from aicore_build.lint.finding import Severity
from aicore_build.lint.place import Place, kind_of, quoted
from aicore_build.lint.rule import Hit, RuleTable
from aicore_build.lint.template import containers, is_substituted, name_of, templates

TABLE = RuleTable()
rule = TABLE.rule

ANNOTATIONS_LIMIT: Final = 256 * 1024
"""Bytes of all keys and values together."""

OBJECT_LIMIT: Final = 1024 * 1024
"""Bytes of JSON: etcd takes 1.5 MiB, and Argo keeps a copy of the template in each workflow."""

ARGUMENT_LIMIT: Final = 128 * 1024 - 1
"""Bytes of one argument, or one variable with its name and `=`: Linux' MAX_ARG_STRLEN."""

_NAME_PART = r"[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?"
_LABEL_VALUE = re.compile(rf"(?:{_NAME_PART})?", re.ASCII)
_KEY = re.compile(rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME_PART}", re.ASCII)
_VARIABLE = re.compile(r"[-._A-Za-z][-._A-Za-z0-9]*", re.ASCII)
_QUANTITY = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?", re.ASCII)

_DOCS = "https://kubernetes.io/docs"


def _metadata(document: Place) -> Iterator[Place]:
    """Whatever has labels and annotations."""
    spec = document["spec"]
    yield document["metadata"]
    yield spec["workflowMetadata"]
    yield spec["podMetadata"]
    yield spec["templateDefaults"]["metadata"]
    yield from (template["metadata"] for template in templates(document))


@rule(
    "KUB001",
    Severity.ERROR,
    "Labels are valid",
    why="Kubernetes rejects an object, or a pod, with another label.",
    fix="Correct it in the setting `labels`, or at @argo(labels=…). A value is text of up to 63 "
    "letters, digits, '-', '_' and '.', beginning and ending with a letter or digit.",
    source=f"Kubernetes, [Labels and Selectors]({_DOCS}/concepts/overview/"
    "working-with-objects/labels/#syntax-and-character-set)",
)
def labels(document: Place) -> Iterator[Hit]:
    for metadata in _metadata(document):
        if metadata["labels"] and not isinstance(metadata["labels"].value, dict):
            yield metadata["labels"], "the labels are no table"
        for key, place in metadata["labels"].pairs():
            if not _KEY.fullmatch(key):
                yield place, f"{quoted(key)} is no name of a label"
            if key in MANDATORY and not place.text:
                pass  # AIC004 and AIC005 say it
            elif not isinstance(place.value, str):
                yield place, f"the label {key} is {kind_of(place.value)}, not text: quote it"
            elif not is_substituted(place.text) and not _LABEL_VALUE.fullmatch(place.text):
                yield place, f"the label {key} can't have the value {quoted(place.text)}"


@rule(
    "KUB002",
    Severity.ERROR,
    "Annotations are text, and not too large together",
    why="Kubernetes rejects an object with another annotation, or with more than 256 KiB of them.",
    fix="Correct it in the setting `annotations`; numbers are written in quotes.",
    source=f"Kubernetes, [Annotations]({_DOCS}/concepts/overview/working-with-objects/"
    "annotations/#syntax-and-character-set)",
)
def annotations(document: Place) -> Iterator[Hit]:
    for metadata in _metadata(document):
        place = metadata["annotations"]
        if place and not isinstance(place.value, dict):
            yield place, "the annotations are no table"
        for key, value in place.pairs():
            if not _KEY.fullmatch(key):
                yield value, f"{quoted(key)} is no name of an annotation"
            if key in MANDATORY and not value.text:
                pass  # AIC006 says it
            elif not isinstance(value.value, str):
                yield value, f"the annotation {key} is {kind_of(value.value)}, not text: quote it"
        size = sum(len(f"{key}{value.text}".encode()) for key, value in place.pairs())
        if size > ANNOTATIONS_LIMIT:
            yield place, f"the annotations have {size} bytes, more than {ANNOTATIONS_LIMIT}"


def _variables(document: Place) -> Iterator[tuple[Place, Place]]:
    for template in templates(document):
        for container in containers(template):
            yield from ((template, variable) for variable in container["env"].items())


@rule(
    "KUB003",
    Severity.ERROR,
    "Variables have valid names",
    why="Kubernetes rejects the pod.",
    fix="Rename it: letters, digits, '-', '_' and '.', not beginning with a digit. In a flow, at "
    "@environment(vars=…).",
    source=f"Kubernetes, [Define Environment Variables]({_DOCS}/tasks/inject-data-application/"
    "define-environment-variable-container/); from 1.34 on it takes other names, too",
)
def variable_names(document: Place) -> Iterator[Hit]:
    for template, variable in _variables(document):
        name = variable["name"]
        if not _VARIABLE.fullmatch(name.text):
            found = quoted(name.value) if name else "missing"
            yield name, f"the name of a variable of {name_of(template)} is {found}"


@rule(
    "KUB004",
    Severity.ERROR,
    "The value of a variable is text",
    why="Argo can't read a workflow template with another value, and says so nowhere that you see: "
    "the execution never starts.",
    fix='Write it in quotes, such as `value: "3"`. `aicore-build` does it for what @environment '
    "gives.",
    source="Kubernetes, [EnvVar](https://kubernetes.io/docs/reference/kubernetes-api/"
    "workload-resources/pod-v1/#environment-variables): value is a string. One of "
    "[SAP's samples](https://github.com/SAP-samples/ai-core-samples) has a number there, which "
    "SAP's tutorial of the same template puts in quotes",
)
def variable_values(document: Place) -> Iterator[Hit]:
    for template, variable in _variables(document):
        place = variable["value"]
        if place and not isinstance(place.value, str):
            name = f"{name_of(variable)} of {name_of(template)}"
            yield place, f"the value of {name} is {kind_of(place.value)}, not text"


@rule(
    "KUB005",
    Severity.WARNING,
    "A variable is given once",
    why="The last one wins, which is easily overlooked.",
    fix="Remove one of them.",
    source=f"Kubernetes, [Define Environment Variables]({_DOCS}/tasks/inject-data-application/"
    "define-environment-variable-container/)",
)
def variables_once(document: Place) -> Iterator[Hit]:
    for template in templates(document):
        for container in containers(template):
            seen: set[str] = set()
            for variable in container["env"].items():
                name = variable["name"].text
                if name and name in seen:
                    yield variable, f"{name_of(template)} has the variable {name} twice"
                seen.add(name)


@rule(
    "KUB006",
    Severity.ERROR,
    "It is not too large",
    why="What is larger doesn't fit into the cluster's store, together with Argo's state.",
    fix="Keep data out of it: in the image, in S3, or in an artifact.",
    source="Argo, [Offloading Large Workflows](https://argo-workflows.readthedocs.io/en/latest/"
    "offloading-large-workflows/); etcd, [System limits](https://etcd.io/docs/v3.5/dev-guide/limit/)",
)
def object_size(document: Place) -> Iterator[Hit]:
    size = len(json.dumps(document.value, ensure_ascii=False, default=str).encode())
    if size > OBJECT_LIMIT:
        yield document, f"it has {size} bytes as JSON, more than {OBJECT_LIMIT}"


@rule(
    "KUB007",
    Severity.ERROR,
    "No argument or variable is larger than Linux takes",
    why="The container doesn't start: argument list too long.",
    fix="Put it into the image, or into an artifact.",
    source="Linux, [execve(2)](https://man7.org/linux/man-pages/man2/execve.2.html): "
    "MAX_ARG_STRLEN, 128 KiB",
)
def argument_size(document: Place) -> Iterator[Hit]:
    for template in templates(document):
        for container in containers(template):
            texts = [*container["command"].items(), *container["args"].items()]
            sizes = [(text, len(text.text.encode())) for text in texts]
            for variable in container["env"].items():
                text = f"{variable['name'].text}={variable['value'].text}"
                sizes.append((variable, len(text.encode())))
            for place, size in sizes:
                if size > ARGUMENT_LIMIT:
                    yield place, f"{name_of(template)}: {size} bytes, more than {ARGUMENT_LIMIT}"


@rule(
    "KUB008",
    Severity.ERROR,
    "A mounted volume is there",
    why="Kubernetes rejects the pod: the volume is not found.",
    fix="Add it to the template's `volumes`, to `spec.volumes` or to `spec.volumeClaimTemplates`.",
    source=f"Kubernetes, [Volumes]({_DOCS}/concepts/storage/volumes/); Argo, "
    "[Volumes](https://argo-workflows.readthedocs.io/en/latest/walk-through/volumes/)",
)
def volumes(document: Place) -> Iterator[Hit]:
    spec = document["spec"]
    common = {v["name"].text for v in spec["volumes"].items()}
    common |= {v["metadata"]["name"].text for v in spec["volumeClaimTemplates"].items()}
    common |= {v["name"].text for v in spec["templateDefaults"]["volumes"].items()}
    for template in templates(document):
        known = common | {v["name"].text for v in template["volumes"].items()}
        if any(is_substituted(name) for name in known):
            continue
        for container in containers(template):
            for mount in container["volumeMounts"].items():
                name = mount["name"].text
                if name not in known and not is_substituted(name):
                    yield mount, f"{name_of(template)} mounts {quoted(name)}, which is not there"


@rule(
    "KUB009",
    Severity.ERROR,
    "Amounts of resources are ones that Kubernetes reads",
    why="Kubernetes rejects the pod, or Argo the whole workflow template.",
    fix="Write a number with a unit such as `500m`, `2Gi` or `10240Mi`; there is no GB.",
    source=f"Kubernetes, [Quantity]({_DOCS}/reference/kubernetes-api/common-definitions/quantity/)",
)
def quantities(document: Place) -> Iterator[Hit]:
    for template in templates(document):
        for container in containers(template):
            for kind in ("requests", "limits"):
                for key, place in container["resources"][kind].pairs():
                    if not is_substituted(place.text) and not _is_quantity(place.value):
                        yield place, f"{quoted(place.value)} is no amount of {key}"


def _is_quantity(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float) or (
        isinstance(value, str) and _QUANTITY.fullmatch(value) is not None
    )
