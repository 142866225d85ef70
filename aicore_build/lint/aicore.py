"""What SAP AI Core asks of a workflow template."""

import json
import re
from collections.abc import Iterator
from typing import Final

from aicore_build.lint.finding import Severity
from aicore_build.lint.place import Place, kind_of, quoted
from aicore_build.lint.rule import Hit, RuleTable, elsewhere
from aicore_build.lint.template import (
    containers,
    is_metaflow,
    is_substituted,
    main_containers,
    name_of,
    runs_pod,
    templates,
)

TABLE = RuleTable()
rule = TABLE.rule

API_VERSION: Final = "argoproj.io/v1alpha1"
KIND: Final = "WorkflowTemplate"

SCENARIO_ID: Final = "scenarios.ai.sap.com/id"
VERSION: Final = "ai.sap.com/version"
SCENARIO_NAME: Final = "scenarios.ai.sap.com/name"
EXECUTABLE_NAME: Final = "executables.ai.sap.com/name"
MANDATORY: Final = (SCENARIO_ID, VERSION, SCENARIO_NAME, EXECUTABLE_NAME)
RESOURCE_PLAN: Final = "ai.sap.com/resourcePlan"
INSTANCE_TYPE: Final = "ai.sap.com/instanceType"
PLANS: Final = ("starter", "basic", "basic.8x", "train.l", "infer.s", "infer.m", "infer.l")
ARTIFACT_KINDS: Final = ("model", "dataset", "resultset", "other")
_OBJECT_STORE_NAME: Final = "object-store-secret"
METAFLOW_DISK: Final = 10240
"""MiB of ephemeral storage that Metaflow asks for where the flow says nothing."""

_DOCS = "https://github.com/SAP-docs/sap-artificial-intelligence/blob"
_PAGE = f"{_DOCS}/2b7e5f2b7a66b04313372667a4d8ae7be568f93b/docs/sap-ai-core"
WORKFLOW_TEMPLATES = (
    f"SAP AI Core, [Workflow Templates]({_PAGE}/workflow-templates-83523ab.md) "
    "(as of its last version)"
)
_API = (
    "The AI API's specification, "
    "[AI_CORE_API.yaml](https://github.com/SAP/ai-sdk-js/blob/main/packages/ai-api/src/spec/"
    "AI_CORE_API.yaml)"
)
_SAMPLES = "[SAP's samples](https://github.com/SAP-samples/ai-core-samples)"
_PLANS_PAGE = f"SAP AI Core, [Choose a Resource Plan]({_PAGE}/choose-a-resource-plan-57f4f19.md)"
_SECURITY = (
    f"SAP AI Core, [Kubernetes Security]({_DOCS}/main/docs/sap-ai-core/"
    "kubernetes-security-3864a9c.md)"
)
_PLUGIN = "The README of the plugin `sap-ai-core-metaflow`"

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


@rule(
    "AIC001",
    ERROR,
    "It is a WorkflowTemplate of Argo, with a name",
    why="AI Core makes an executable of each WorkflowTemplate, and takes its name for the "
    "executable's ID; Argo CD stops the sync of the whole folder at a file that is no object.",
    fix=f"Write `apiVersion: {API_VERSION}`, `kind: {KIND}` and `metadata.name`.",
    source=WORKFLOW_TEMPLATES,
)
def is_workflow_template(document: Place) -> Iterator[Hit]:
    if not isinstance(document.value, dict):
        yield document, f"the document is {kind_of(document.value)}, not a table"
        return
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document[key].value != wanted:
            found = quoted(document[key].value) if document[key] else "missing"
            yield document[key], f"{key} is {found}; it has to be {wanted}"
    metadata = document["metadata"]
    if not metadata["name"].text:
        generated = ", and generateName is not enough" if metadata["generateName"] else ""
        found = "no text" if metadata["name"].value else "missing"
        yield metadata["name"], f"metadata.name is {found}{generated}"


@rule(
    "AIC002",
    ERROR,
    "The name is one that the AI API takes",
    why="The name is the executable's ID: the API takes 4 to 64 characters, Kubernetes lower-case "
    "letters and digits, with hyphens between them.",
    fix="Rename it; for a flow, rename its class, since the name is the class's in lower case.",
    source=f"{_API}; {WORKFLOW_TEMPLATES}",
)
def name_is_valid(document: Place) -> Iterator[Hit]:
    name = document["metadata"]["name"]
    if name.text and not re.fullmatch(r"(?=.{4,64}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?", name.text):
        yield name, f"the name {quoted(name.text)} is not 4 to 64 of a-z, 0-9 and inner hyphens"


rule(
    "AIC003",
    ERROR,
    "No two workflow templates have the same name",
    why="The name is the executable's ID, which is unique in the whole tenant: the sync fails on a "
    "duplicate.",
    fix="Rename one, or keep it out of the folder that AI Core syncs; so with the workflow "
    "templates of dev and prod, which have one name.",
    source=f"{WORKFLOW_TEMPLATES}. Only what is checked together is compared",
)(elsewhere)


def _mandatory(document: Place, kind: str, key: str, example: str) -> Iterator[Hit]:
    place = document["metadata"][kind][key]
    if not place:
        yield place, f"the {kind.removesuffix('s')} {key} is missing"
    elif not isinstance(place.value, str):
        unquoted = f" ({place.value}, without quotes)" if isinstance(place.value, float) else ""
        said = f"the {kind.removesuffix('s')} {key} is {kind_of(place.value)}{unquoted}, not text"
        yield place, f"{said}: write it in quotes, such as {example}"
    elif not place.text.strip():
        yield place, f"the {kind.removesuffix('s')} {key} is empty"


@rule(
    "AIC004",
    ERROR,
    "It says to which scenario it belongs",
    why="Without the label AI Core finds no scenario for the executable.",
    fix=f"Set `scenario-id`; by hand, the label {SCENARIO_ID} with 4 to 63 characters.",
    source=f"{WORKFLOW_TEMPLATES}; {_API}",
)
def scenario_id(document: Place) -> Iterator[Hit]:
    yield from _mandatory(document, "labels", SCENARIO_ID, '"flat-prices"')
    place = document["metadata"]["labels"][SCENARIO_ID]
    if place.text.strip() and not 4 <= len(place.text) <= 63:
        yield place, f"the scenario ID {quoted(place.text)} has not 4 to 63 characters"


@rule(
    "AIC005",
    ERROR,
    "It says its version, as text",
    why="Without the label, or with a number there, AI Core makes no executable of it: Kubernetes "
    "takes only text in labels, and an unquoted 1.0 is a number in YAML.",
    fix=f'Set `version`; by hand, the label `{VERSION}: "1.0.0"`, in quotes.',
    source=f"{WORKFLOW_TEMPLATES}; SAP uses both `1.0` and `1.0.0`",
)
def version(document: Place) -> Iterator[Hit]:
    yield from _mandatory(document, "labels", VERSION, '"1.0"')


@rule(
    "AIC006",
    ERROR,
    "It names its scenario and its executable",
    why="The AI API discovers scenarios and executables by these annotations.",
    fix="Set `scenario-name` and `executable-name`; by hand, the annotations "
    f"{SCENARIO_NAME} (up to 256 characters) and {EXECUTABLE_NAME}.",
    source=f"{WORKFLOW_TEMPLATES}; {_API}",
)
def names(document: Place) -> Iterator[Hit]:
    yield from _mandatory(document, "annotations", SCENARIO_NAME, '"Flat prices"')
    yield from _mandatory(document, "annotations", EXECUTABLE_NAME, '"trainflow"')
    place = document["metadata"]["annotations"][SCENARIO_NAME]
    if len(place.text) > 256:
        yield place, f"the scenario's name has {len(place.text)} characters, more than 256"


@rule(
    "AIC007",
    WARNING,
    "A scenario's description has up to 5000 characters",
    why="The AI API's description of a scenario has no room for more.",
    fix="Shorten `scenarios.ai.sap.com/description` in the setting `annotations`.",
    source=_API,
)
def description(document: Place) -> Iterator[Hit]:
    place = document["metadata"]["annotations"]["scenarios.ai.sap.com/description"]
    if len(place.text) > 5000:
        yield place, f"the description has {len(place.text)} characters"


@rule(
    "AIC008",
    NOTE,
    "The label executables.ai.sap.com/id is not needed",
    why="The executable's ID is metadata.name, whatever the label says: who looks for the other "
    "one in the API finds nothing.",
    fix="Leave the label out, or give it the value of metadata.name.",
    source=f"{WORKFLOW_TEMPLATES}, whose table lacks the label that its example has; in "
    "[SAP's samples](https://github.com/SAP-samples/btp-industry-use-cases) the two differ",
)
def executable_id(document: Place) -> Iterator[Hit]:
    metadata = document["metadata"]
    place = metadata["labels"]["executables.ai.sap.com/id"]
    if place and place.value != metadata["name"].value:
        yield (
            place,
            f"the label says {quoted(place.value)}, the name {quoted(metadata['name'].value)}",
        )


def _sizes(document: Place) -> Iterator[tuple[Place, Place]]:
    """Each template with a pod, and the labels that its pod gets."""
    for template in templates(document):
        if runs_pod(template):
            yield template, template["metadata"]["labels"]


def _common_labels(document: Place) -> Iterator[Place]:
    spec = document["spec"]
    yield spec["podMetadata"]["labels"]
    yield spec["templateDefaults"]["metadata"]["labels"]


@rule(
    "AIC009",
    WARNING,
    "Each container has a resource plan",
    why="Without one the pod runs with AI Core's smallest, starter: a step may be ended for want "
    "of memory.",
    fix="Set `resource-plan`, or `steps.<step>.resource-plan`; by hand, the label "
    f"{RESOURCE_PLAN} in the template's metadata.",
    source=f"{WORKFLOW_TEMPLATES}: mandatory. {_SAMPLES} leave it out and get starter: hence a "
    "warning",
)
def has_resource_plan(document: Place) -> Iterator[Hit]:
    common = any(labels[RESOURCE_PLAN] for labels in _common_labels(document))
    for template, labels in _sizes(document):
        if not (common or labels[RESOURCE_PLAN] or labels[INSTANCE_TYPE]):
            yield template, f"{name_of(template)} has neither a resource plan nor an instance type"


@rule(
    "AIC010",
    ERROR,
    "A resource plan is one that AI Core has",
    why="A pod with an unknown plan is rejected; case matters.",
    fix=f"Set `resource-plan` or `steps.<step>.resource-plan` to one of {', '.join(PLANS)}. The "
    "free tier has starter only.",
    source=_PLANS_PAGE,
)
def resource_plan_is_known(document: Place) -> Iterator[Hit]:
    everywhere = [labels for _, labels in _sizes(document)] + list(_common_labels(document))
    for place in (labels[RESOURCE_PLAN] for labels in everywhere):
        if place and place.value not in PLANS and not is_substituted(place.text):
            yield place, f"there is no resource plan {quoted(place.value)}"


@rule(
    "AIC011",
    NOTE,
    "An instance type can't be checked here",
    why="Instance types need the extended plan, and their IDs come from the API only.",
    fix="Compare it with what the API lists, or use a resource plan: `resource-plan`.",
    source=_PLANS_PAGE,
)
def instance_type(document: Place) -> Iterator[Hit]:
    for _, labels in _sizes(document):
        if place := labels[INSTANCE_TYPE]:
            yield place, f"the instance type {quoted(place.value)} was not checked"


def _artifacts(document: Place, direction: str) -> Iterator[Place]:
    for template in templates(document):
        yield from template[direction]["artifacts"].items()


@rule(
    "AIC012",
    ERROR,
    "Every artifact has a name",
    why="Artifacts are bound, and registered, by their names.",
    fix="Give it a `name`.",
    source=f"{WORKFLOW_TEMPLATES}; [Argo's fields](https://argo-workflows.readthedocs.io/en/latest/"
    "fields/#artifact)",
)
def artifact_has_name(document: Place) -> Iterator[Hit]:
    for direction in ("inputs", "outputs"):
        for artifact in _artifacts(document, direction):
            if not artifact["name"].text:
                yield artifact, f"an artifact of the {direction} has no name"


@rule(
    "AIC013",
    WARNING,
    "An output artifact has a globalName",
    why="AI Core registers only those that have one; the others are in the object store, but not "
    "in the AI API.",
    fix="Give it a `globalName`; one that only a later step reads needs none.",
    source=WORKFLOW_TEMPLATES,
)
def artifact_has_global_name(document: Place) -> Iterator[Hit]:
    read = {
        name
        for place in document["spec"].within()
        for name in re.findall(r"\.outputs\.artifacts\.([\w-]+)", place.text)
    }
    for artifact in _artifacts(document, "outputs"):
        name = artifact["name"].text
        if not artifact["globalName"] and name and name not in read:
            yield artifact, f"the output artifact {name} has no globalName"


_ANNOTATION = re.compile(r"artifacts\.ai\.sap\.com/(.+)\.(kind|name|suffix|description|labels)")


def _artifact_annotations(document: Place) -> Iterator[tuple[str, str, Place]]:
    """The artifact that each is of, what it says of it, and where."""
    for key, place in document["metadata"]["annotations"].pairs():
        if found := _ANNOTATION.fullmatch(key):
            yield found[1], found[2], place


def _registered(document: Place) -> set[str]:
    """What an annotation may call an artifact."""
    inputs = {artifact["name"].text for artifact in _artifacts(document, "inputs")}
    arguments = document["spec"]["arguments"]["artifacts"].items()
    outputs = {artifact["globalName"].text for artifact in _artifacts(document, "outputs")}
    return inputs | outputs | {artifact["name"].text for artifact in arguments}


@rule(
    "AIC014",
    WARNING,
    "An annotation of an artifact is of one that is there",
    why="It is matched with the globalName of an output or the name of an input; without a match "
    "it has no effect.",
    fix="Correct the name in the setting `annotations`, or give the artifact this `globalName`.",
    source=f"{WORKFLOW_TEMPLATES}. "
    "[SAP's samples](https://github.com/SAP-samples/btp-ai-sustainability-bootcamp) have such "
    "annotations: hence a warning",
)
def artifact_annotation_matches(document: Place) -> Iterator[Hit]:
    known = _registered(document)
    for artifact, _, place in _artifact_annotations(document):
        if artifact not in known:
            others = ", ".join(sorted(known - {""})) or "none"
            yield place, f"there is no artifact {quoted(artifact)}; there are: {others}"


_CUSTOM_LABEL = re.compile(r"ext\.ai\.sap\.com/[\w.-]+", re.ASCII)


@rule(
    "AIC015",
    ERROR,
    "The labels of an artifact are a JSON object of the API's form",
    why="AI Core takes them over into the artifact, whose labels the API restricts.",
    fix='Write \'{"ext.ai.sap.com/<key>": "<value>"}\' in the setting `annotations`; keys have up '
    "to 256 characters, values up to 5000.",
    source=f"{WORKFLOW_TEMPLATES}; {_API}",
)
def artifact_labels(document: Place) -> Iterator[Hit]:
    for artifact, what, place in _artifact_annotations(document):
        if what == "labels" and place.text:
            yield from ((place, f"labels of {artifact}: {why}") for why in _label_faults(place))


def _label_faults(place: Place) -> Iterator[str]:
    try:
        labels = json.loads(place.text)
    except ValueError:
        yield "they are no JSON"
        return
    if not isinstance(labels, dict):
        yield f"they are {kind_of(labels)}, not an object"
        return
    for key, value in labels.items():
        if not _CUSTOM_LABEL.fullmatch(key) or len(key) > 256:
            yield f"the key {quoted(key)} is not ext.ai.sap.com/ and a name"
        if not isinstance(value, str):
            yield f"the value of {key} is {kind_of(value)}, not text"
        elif len(value) > 5000:
            yield f"the value of {key} has {len(value)} characters"


@rule(
    "AIC016",
    WARNING,
    "An output artifact says that it is not archived",
    why="Otherwise it is uploaded as a tar.gz, which serving and other steps don't expect.",
    fix="Add `archive: {none: {}}`, or an `archive` that says tar where you want that.",
    source=WORKFLOW_TEMPLATES,
)
def artifact_is_not_archived(document: Place) -> Iterator[Hit]:
    for artifact in _artifacts(document, "outputs"):
        if not artifact["archive"]:
            yield artifact, f"{name_of(artifact)} is uploaded as tar.gz"


_STORES = ("s3", "gcs", "azure", "oss", "hdfs", "artifactory", "git", "http", "raw")


@rule(
    "AIC017",
    WARNING,
    "Output artifacts go to the default object store",
    why="AI Core supports only the object store secret named default for them.",
    fix="Leave the store out of the artifact, and name the resource group's secret default.",
    source=WORKFLOW_TEMPLATES,
)
def artifact_store(document: Place) -> Iterator[Hit]:
    for artifact in _artifacts(document, "outputs"):
        for store in _STORES:
            if artifact[store]:
                yield artifact[store], f"{name_of(artifact)} names a store of its own"
    if place := document["spec"]["artifactRepositoryRef"]:
        yield place, "the workflow names an artifact repository of its own"


@rule(
    "AIC018",
    ERROR,
    "Each container has a command and arguments",
    why="AI Core ignores the CMD and ENTRYPOINT of the image.",
    fix='Write `command: ["/bin/sh", "-c"]` and what is to run under `args`.',
    source=WORKFLOW_TEMPLATES,
)
def has_command(document: Place) -> Iterator[Hit]:
    common = document["spec"]["templateDefaults"]
    for template in templates(document):
        for container in containers(template):
            needed = ("command",) if container["source"] else ("command", "args")
            for key in needed:
                if not (container[key].value or common["container"][key].value):
                    yield container[key], f"{_label(template, container)} has no {key}"


def _label(template: Place, container: Place) -> str:
    """The template, and which of its containers."""
    name = container["name"].text
    return f"{name_of(template)}, container {name}" if name else name_of(template)


_DEMANDED: Final = {
    "runAsUser": 65534,
    "runAsGroup": 65534,
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
}


@rule(
    "AIC019",
    ERROR,
    "A securityContext says what AI Core enforces",
    why="AI Core rejects a pod that asks for another user or for privileges.",
    fix="Leave the securityContext out; AI Core sets it. Where you need it: runAsUser and "
    "runAsGroup 65534, runAsNonRoot true, allowPrivilegeEscalation false, "
    "capabilities.drop ['all'].",
    source=_SECURITY,
)
def security_context(document: Place) -> Iterator[Hit]:
    spec = document["spec"]
    contexts = [spec["securityContext"], spec["templateDefaults"]["securityContext"]]
    for template in templates(document):
        contexts.append(template["securityContext"])
        contexts += [container["securityContext"] for container in containers(template)]
    for context in contexts:
        yield from _context_faults(context)


def _context_faults(context: Place) -> Iterator[Hit]:
    for key, wanted in _DEMANDED.items():
        value = context[key].value
        if value is not None and (value != wanted or type(value) is not type(wanted)):
            yield context[key], f"{key} is {quoted(value)}; it has to be {json.dumps(wanted)}"
    if context["privileged"].value:
        yield context["privileged"], "the container asks to be privileged"
    capabilities = context["capabilities"]
    if capabilities["add"].value:
        yield capabilities["add"], f"capabilities are added: {quoted(capabilities['add'].value)}"
    if capabilities["drop"] and capabilities["drop"].value != ["all"]:
        yield (
            capabilities["drop"],
            f"capabilities.drop is {quoted(capabilities['drop'].value)}; it has to be ['all']",
        )


_NAME_CHARACTERS = re.compile(r"(?=.{2,63}\Z)[a-z0-9](?:_?[a-z0-9.\-])*")


def _is_secret_name(name: str) -> bool:
    """As the API's pattern says, which takes exponential time for some names."""
    return bool(_NAME_CHARACTERS.fullmatch(name)) and name[-1].isalnum()


@rule(
    "AIC020",
    WARNING,
    "The secrets of the registry have names that AI Core gives",
    why="A pod whose secret isn't found can't pull from a private registry.",
    fix="Set `image-pull-secrets` to names of Docker registry secrets of your resource group.",
    source=_API,
)
def image_pull_secrets(document: Place) -> Iterator[Hit]:
    for secret in document["spec"]["imagePullSecrets"].items():
        name = secret["name"]
        if not _is_secret_name(name.text):
            yield name, f"{quoted(name.value)} is no name of a Docker registry secret"


_IMAGE = re.compile(
    r"(?:(?P<host>[\w-]+(?:\.[\w-]+)+(?::\d+)?|[\w-]+:\d+|localhost)/)?"
    r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::(?P<tag>[\w][\w.-]{0,127}))?(?P<digest>@sha256:[0-9a-f]{64})?",
    re.ASCII,
)


@rule(
    "AIC021",
    WARNING,
    "An image is named with its registry and a digest",
    why="A tag may move: another image may run than the one that was tested. Without a host, the "
    "registry is whatever the cluster takes for it.",
    fix="`aicore-build dev` and `prod` write `registry/repository:tag@digest`.",
    source=f"{_SAMPLES}, whose images have their registry's host; the digest is our advice, as "
    "[Kubernetes'](https://kubernetes.io/docs/concepts/containers/images/#image-names)",
)
def image_is_pinned(document: Place) -> Iterator[Hit]:
    for template in templates(document):
        for container in containers(template):
            image = container["image"]
            if image.text and not is_substituted(image.text) and (why := _image_fault(image.text)):
                yield image, f"the image {quoted(image.text, 120)} {why}"


def _image_fault(image: str) -> str | None:
    found = _IMAGE.fullmatch(image)
    if not found:
        return "is no image reference"
    faults = []
    if not found["host"]:
        faults.append("names no registry")
    if not found["digest"]:
        tag = found["tag"]
        faults.append(
            f"has the tag {tag} and no digest" if tag else "has neither a tag nor a digest"
        )
    return " and ".join(faults) or None


@rule(
    "AIC022",
    WARNING,
    "There is a deadline",
    why="A process that hangs runs, and costs, without end.",
    fix="Set `spec.activeDeadlineSeconds`; in a flow, @timeout at each step.",
    source=WORKFLOW_TEMPLATES,
)
def deadline(document: Place) -> Iterator[Hit]:
    spec = document["spec"]
    if spec["activeDeadlineSeconds"] or spec["templateDefaults"]["activeDeadlineSeconds"]:
        return
    without = [
        template
        for template in templates(document)
        if runs_pod(template) and not template["activeDeadlineSeconds"]
    ]
    if without:
        listed = ", ".join(name_of(template) for template in without[:5])
        yield spec["activeDeadlineSeconds"], f"no deadline for {listed}"


@rule(
    "AIC023",
    WARNING,
    "Of several containers one is main, and the others readable-",
    why="AI Core gives out the logs of main, and of those whose name begins with readable-.",
    fix="Rename the containers.",
    source=WORKFLOW_TEMPLATES,
)
def container_names(document: Place) -> Iterator[Hit]:
    for template in templates(document):
        of_a_set = list(template["containerSet"]["containers"].items())
        if len(of_a_set) > 1 and not any(c["name"].value == "main" for c in of_a_set):
            yield template["containerSet"]["containers"], "none of the containers is named main"
        for container in (*of_a_set, *template["sidecars"].items()):
            name = container["name"].text
            alone = len(of_a_set) == 1 and container.path == of_a_set[0].path
            if not alone and name != "main" and not name.startswith("readable-"):
                yield container, f"the logs of the container {quoted(name)} are out of reach"


@rule(
    "AIC024",
    NOTE,
    "More disk comes from volumeClaimTemplates",
    why="A node's own disk is small, and shared by its pods.",
    fix="Add `spec.volumeClaimTemplates`, and mount the volume where the files go.",
    source=f"{_PLANS_PAGE}; [Argo's volumes](https://argo-workflows.readthedocs.io/en/latest/"
    "walk-through/volumes/)",
)
def disk(document: Place) -> Iterator[Hit]:
    for template in templates(document):
        for container in containers(template):
            place = container["resources"]["requests"]["ephemeral-storage"]
            if (size := _mebibytes(place.value)) and size > METAFLOW_DISK:
                yield place, f"{name_of(template)} asks for {place.value} of the node's disk"


def _mebibytes(quantity: object) -> float | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|k|M|G|T)?", str(quantity))
    if not found:
        return None
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    units |= {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "": 1}
    return float(found[1]) * units[found[2] or ""] / 2**20


@rule(
    "AIC025",
    WARNING,
    "A container reads no secret of the system",
    why="SAP's documentation says that system secrets can't be consumed by a workflow.",
    fix="Use a generic secret of your own, if you can; Metaflow's steps need the object store's.",
    source="SAP AI Core, [Consume Generic Secrets]"
    f"({_DOCS}/main/docs/sap-ai-core/consume-generic-secrets-in-executions-or-deployments-185a324.md)"
    f". {_PLUGIN} uses `default-object-store-secret` all the same: hence a warning, and none for "
    "Metaflow's steps",
)
def system_secret(document: Place) -> Iterator[Hit]:
    for template in templates(document):
        for container in containers(template):
            if is_metaflow(container):
                continue
            references = [s["secretRef"]["name"] for s in container["envFrom"].items()]
            variables = container["env"].items()
            references += [v["valueFrom"]["secretKeyRef"]["name"] for v in variables]
            for name in references:
                if name.text.endswith(_OBJECT_STORE_NAME):
                    yield name, f"{name_of(template)} reads the secret {name.text}"


@rule(
    "AIC026",
    ERROR,
    "An artifact signature is read from a file",
    why="AI Core takes the signature from the file that valueFrom.path names.",
    fix="Give the output parameter AICORE_ARTIFACT_SIGNATURES a `valueFrom: {path: …}`.",
    source=f"SAP AI Core, [Using Artifact Signatures]({_PAGE}/"
    "using-artifact-signatures-2f02a1d.md)",
)
def signature(document: Place) -> Iterator[Hit]:
    for template in templates(document):
        parameter = template["outputs"]["parameters"].named("AICORE_ARTIFACT_SIGNATURES")
        if parameter and not parameter["valueFrom"]["path"].text:
            yield parameter, "AICORE_ARTIFACT_SIGNATURES has no valueFrom.path"


@rule(
    "AIC027",
    WARNING,
    "Parameters are text of the API's size",
    why="A configuration binds text: a key of up to 256 characters, a value of up to 5000.",
    fix="Write values in quotes; keep what is larger in an artifact.",
    source=f"{_API}. [SAP's samples](https://github.com/SAP-samples/btp-industry-use-cases) have "
    "numbers as values, which Argo takes for text: hence a warning",
)
def parameters(document: Place) -> Iterator[Hit]:
    for parameter in document["spec"]["arguments"]["parameters"].items():
        name = parameter["name"].text
        if len(name) > 256:
            yield parameter["name"], f"the parameter's name has {len(name)} characters"
        for key in ("value", "default"):
            place = parameter[key]
            if place and not isinstance(place.value, str):
                yield place, f"the {key} of {quoted(name)} is {kind_of(place.value)}, not text"
            elif len(place.text) > 5000:
                yield place, f"the {key} of {quoted(name)} has {len(place.text)} characters"


rule(
    "AIC028",
    ERROR,
    "The file can be read",
    why="Argo CD, which syncs the folder for AI Core, stops at a file that it can't read.",
    fix="Mend it at this place: YAML is indented by spaces, never by tabs, and has each key once.",
    source="[YAML 1.2.2](https://yaml.org/spec/1.2.2/#61-indentation-spaces); "
    "[JSON](https://www.rfc-editor.org/rfc/rfc8259)",
)(elsewhere)


@rule(
    "AIC030",
    WARNING,
    "It uses what AI Core documents",
    why="SAP's documentation doesn't say what AI Core does with it; it may be refused or ignored, "
    "and the resource plan decides on cpu and memory.",
    fix="Leave it out; instead of container.resources, set `resource-plan` or "
    "`steps.<step>.resource-plan`.",
    source=f"{WORKFLOW_TEMPLATES} and {_SECURITY} don't mention it. container.resources of "
    "Metaflow's steps are not meant: the plugin writes them for every step",
)
def undocumented(document: Place) -> Iterator[Hit]:
    spec = document["spec"]
    for place in (spec, spec["templateDefaults"], *templates(document)):
        for key in ("serviceAccountName", "hostNetwork", "resource", "http", "plugin"):
            if place[key].value:
                yield place[key], f"{key} is not documented for AI Core"
        for volume in place["volumes"].items():
            if volume["hostPath"]:
                yield volume["hostPath"], "a hostPath volume is not documented for AI Core"
    for template in templates(document):
        for container in containers(template):
            if container["resources"].value and not is_metaflow(container):
                yield container["resources"], f"{name_of(template)} has resources of its own"


@rule(
    "AIC031",
    ERROR,
    "Metaflow's steps get the credentials of S3",
    why="A step reads and writes S3, and fails there after minutes without its secret. The plugin "
    "leaves it out for steps that have a @kubernetes of their own.",
    fix="Set `object-store-secret`, and let `aicore-build` write the workflow template; by hand, "
    "add the secret to the container's `envFrom`.",
    source=_PLUGIN + ", and what its generator was seen to do",
)
def object_store_secret(document: Place) -> Iterator[Hit]:
    flow = [
        (template, container)
        for template in templates(document)
        for container in main_containers(template)
        if is_metaflow(container)
    ]
    secrets = [_secrets(container) for _, container in flow]
    common = set.intersection(*secrets) if secrets else set()
    for (template, container), found in zip(flow, secrets, strict=True):
        by_name = any(name.endswith(_OBJECT_STORE_NAME) for name in found)
        key = container["env"].named("AWS_ACCESS_KEY_ID")
        if not (common or by_name or (key and key["valueFrom"])):
            yield container["envFrom"], f"{name_of(template)} has no secret of the object store"


def _secrets(container: Place) -> set[str]:
    return {s["secretRef"]["name"].text for s in container["envFrom"].items()} - {""}


@rule(
    "AIC033",
    ERROR,
    "An artifact is of a kind that the API has",
    why="AI Core registers the artifact with this kind, which the API refuses.",
    fix=f"Write one of {', '.join(ARTIFACT_KINDS)} in the setting `annotations`.",
    source=f"{_API}. [SAP's samples](https://github.com/SAP-samples/btp-industry-use-cases) have "
    "another kind for an artifact that isn't there, which has no effect: see AIC014",
)
def artifact_kind(document: Place) -> Iterator[Hit]:
    known = _registered(document)
    for artifact, what, place in _artifact_annotations(document):
        if what == "kind" and artifact in known and place.value not in ARTIFACT_KINDS:
            yield place, f"the kind of {artifact} is {quoted(place.value)}"


NOT_CHECKED: Final = "AIC032"


@rule(
    NOT_CHECKED,
    NOTE,
    "Other kinds of objects are not checked",
    why="The rules are those of workflow templates, which train; a ServingTemplate serves.",
    fix="Nothing; keep files that AI Core doesn't know out of the folder that it syncs.",
    source="SAP AI Core, [Serving Templates]"
    f"({_PAGE}/serving-templates-20a8667.md): another kind of executable, with rules of its own",
)
def other_kind(document: Place) -> Iterator[Hit]:
    if is_other_kind(document):
        yield document["kind"], f"{document['kind'].value} is not checked"


_ARGOS_KINDS = ("Workflow", "ClusterWorkflowTemplate", "CronWorkflow", KIND)


def is_other_kind(document: Place) -> bool:
    """Whether it is an object of Kubernetes that isn't meant to be a workflow template."""
    kind = document["kind"].text
    return bool(kind and document["apiVersion"].text) and kind not in _ARGOS_KINDS
