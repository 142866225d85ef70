from dataclasses import replace

import pytest

from aicore_build.errors import VerifyError
from aicore_build.verify.argo import (
    Dag,
    Output,
    Step,
    UnknownError,
    Variable,
    as_text,
    bind_parameters,
    container_environment,
    expand,
    is_wanted,
    parse_workflow,
    substitute,
)
from aicore_build.verify.report import Node
from aicore_build.workflow import Json
from tests.unit import templates
from tests.unit.make import recorded
from tests.unit.workflows import (
    IMAGE,
    a_dag,
    a_document,
    a_read_step,
    a_step,
    a_task,
    a_workflow,
)

EMPTY = {"name": "scratch", "emptyDir": {}}
MOUNT = {"name": "scratch", "mountPath": "/scratch"}
SCOPE = {"item": "3", "inputs.parameters.name": "a b"}


def test_a_step_is_read_whole() -> None:
    step = a_read_step(
        "train",
        "-c",
        "python flow.py",
        outputs={
            "parameters": [
                {"name": "splits", "valueFrom": {"path": "/tmp/splits", "default": 0}},
                {"name": "kind", "value": "model"},
            ]
        },
        metadata={"labels": {"ai.sap.com/resourcePlan": "train.l"}},
        env=[
            {"name": "A", "value": "{{item}}"},
            {"name": "K", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}},
        ],
        envFrom=[{"secretRef": {"name": "store"}}],
        volumes=[EMPTY],
        volumeMounts=[MOUNT],
        activeDeadlineSeconds="90",
        retryStrategy={"limit": "2", "backoff": {"duration": "1m"}},
    )
    assert step == Step(
        name="train",
        inputs={},
        outputs=(
            Output(name="splits", path="/tmp/splits", default="0"),
            Output(name="kind", value="model"),
        ),
        image=IMAGE,
        command=("bash",),
        args=("-c", "python flow.py"),
        variables=(
            Variable(name="A", value="{{item}}"),
            Variable(name="K", secret="other", key="k"),
        ),
        secrets=("store",),
        resource_plan="train.l",
        deadline=90,
        retries=2,
        folders=("/scratch",),
    )
    assert step.needed_secrets == ("store", "other")


def test_a_secret_is_needed_once() -> None:
    key = {"secretKeyRef": {"name": "store", "key": "k"}}
    step = a_read_step(
        env=[{"name": "K", "valueFrom": key}, {"name": "L", "valueFrom": key}],
        envFrom=[{"secretRef": {"name": "store"}}],
    )
    assert step.needed_secrets == ("store",)


def test_a_dag_is_read_whole() -> None:
    inner = a_task("b", "work", "a", withItems=[1, "x"], when="{{item}} != 1", arguments={"n": 3})
    workflow = a_workflow(
        a_dag("entry", a_task("a"), inner, inputs=("n",), outputs={"last": "{{tasks.b.x}}"}),
        a_step("work"),
    )
    dag = workflow.templates["entry"]
    assert isinstance(dag, Dag)
    assert dag.inputs == {"n": None}
    assert dag.outputs == {"last": "{{tasks.b.x}}"}
    first, second = dag.tasks
    assert (first.dependencies, first.items, first.when) == ((), None, None)
    assert (second.template, second.dependencies) == ("work", ("a",))
    assert (second.items, second.when) == ('[1, "x"]', "{{item}} != 1")
    assert second.arguments == {"n": "3"}
    assert [step.name for step in workflow.steps] == ["work"]


def test_a_workflow_is_read_whole() -> None:
    parameters = [
        {"name": "given", "value": "v", "default": "d"},
        {"name": "default", "default": 3, "description": "how many"},
        {"name": "bound"},
    ]
    workflow = a_workflow(
        a_step("work"),
        arguments={"parameters": parameters},
        parallelism=2,
        activeDeadlineSeconds=60,
        imagePullSecrets=[{"name": "docker"}],
    )
    assert (workflow.name, workflow.entrypoint) == ("trainflow", "work")
    assert workflow.parameters == {"given": "v", "default": "3", "bound": None}
    assert (workflow.parallelism, workflow.deadline) == (2, 60)


@pytest.mark.parametrize(
    ("strategy", "retries"),
    [
        pytest.param(None, 0, id="none"),
        pytest.param({"limit": 3}, 3, id="policy left out"),
        pytest.param({"limit": 3, "retryPolicy": "Always"}, 3, id="always"),
        pytest.param({"limit": 3, "retryPolicy": "OnFailure"}, 3, id="failure"),
        pytest.param({"limit": 3, "retryPolicy": "OnError"}, 0, id="pods that got lost"),
        pytest.param({"limit": 0}, 0, id="0"),
    ],
)
def test_retries(strategy: Json | None, retries: int) -> None:
    assert a_read_step(retryStrategy=strategy).retries == retries


@pytest.mark.parametrize("name", ["generated", "embedded"])
def test_what_the_generator_writes_is_known(name: str) -> None:
    assert parse_workflow(recorded(name)).steps


def test_all_that_is_unknown_is_named_at_once() -> None:
    with pytest.raises(UnknownError) as caught:
        parse_workflow(templates.sound())
    assert str(caught.value) == (
        "The workflow template has what can't be run here:\n"
        "  artifacts in the inputs of the template by-hand\n"
        "  artifacts in the outputs of the template by-hand\n"
        "Nothing was run. `aicore-build verify --quick` looks at the images alone."
    )


CONTAINER = "the container of the template work"


@pytest.mark.parametrize(
    ("document", "unknown"),
    [
        pytest.param(a_document(a_step(), onExit="work"), "onExit in spec", id="spec"),
        pytest.param(
            a_document(a_step(), arguments={"artifacts": []}),
            "artifacts in spec.arguments",
            id="arguments",
        ),
        pytest.param(
            a_document(
                a_step(), arguments={"parameters": [{"name": "a", "valueFrom": {"event": "x"}}]}
            ),
            "valueFrom in spec.arguments",
            id="parameter",
        ),
        pytest.param(
            a_document(a_step(), parallelism="{{x}}"), "spec.parallelism: '{{x}}'", id="parallelism"
        ),
        pytest.param(
            a_document(a_step(sidecars=[])), "sidecars in the template work", id="template"
        ),
        pytest.param(
            a_document({"name": "work", "script": {}}),
            "script in the template work\n  no container in the template work",
            id="script",
        ),
        pytest.param(
            a_document({**a_step(), "container": {"image": IMAGE, "workingDir": "/x"}}),
            f"workingDir in {CONTAINER}",
            id="container",
        ),
        pytest.param(
            a_document(a_step(env=[{"name": "A", "valueFrom": {"configMapKeyRef": {}}}])),
            f"configMapKeyRef in the variable A of {CONTAINER}",
            id="variable",
        ),
        pytest.param(
            a_document(a_step(envFrom=[{"secretRef": {"name": "s"}, "prefix": "X_"}])),
            f"prefix in envFrom of {CONTAINER}",
            id="envFrom",
        ),
        pytest.param(
            a_document(a_step(retryStrategy={"limit": 1, "expression": "true"})),
            f"expression in retryStrategy of {CONTAINER}",
            id="retryStrategy",
        ),
        pytest.param(
            a_document(a_step(retryStrategy={"limit": "{{inputs.parameters.n}}"})),
            f"retryStrategy.limit of {CONTAINER}: '{{{{inputs.parameters.n}}}}'",
            id="limit",
        ),
        pytest.param(
            a_document(
                a_step(outputs={"parameters": [{"name": "o", "valueFrom": {"jqFilter": "."}}]})
            ),
            f"jqFilter in the output o of {CONTAINER}",
            id="output",
        ),
        pytest.param(
            a_document(a_step(volumes=[{"name": "v", "hostPath": {}}])),
            f"hostPath in the volume v of {CONTAINER}",
            id="volume",
        ),
        pytest.param(
            a_document(a_step(volumes=[EMPTY], volumeMounts=[{**MOUNT, "subPath": "x"}])),
            f"subPath in a volumeMount of {CONTAINER}",
            id="volumeMount",
        ),
        pytest.param(
            a_document(a_step(volumeMounts=[MOUNT])),
            f"the volume scratch in a volumeMount of {CONTAINER}",
            id="a volume from elsewhere",
        ),
        pytest.param(
            a_document(a_dag("d", a_task("a", continueOn={})), a_step()),
            "continueOn in the task a of the template d",
            id="task",
        ),
        pytest.param(
            a_document(a_dag("d", {"name": "a", "inline": {}})),
            "inline in the task a of the template d\n  no template in the task a",
            id="inline",
        ),
        pytest.param(
            a_document({**a_dag("d"), "dag": {"tasks": [], "target": "a"}}),
            "target in the dag of the template d",
            id="dag",
        ),
        pytest.param(
            a_document({**a_dag("d"), "retryStrategy": {"limit": 1}}),
            "retryStrategy in the template d",
            id="retries of a dag",
        ),
        pytest.param(
            a_document(
                {
                    **a_dag("d"),
                    "outputs": {"parameters": [{"name": "o", "valueFrom": {"expression": "1"}}]},
                }
            ),
            "expression in the output o of the template d",
            id="output of a dag",
        ),
    ],
)
def test_what_is_not_known_is_named(document: Json, unknown: str) -> None:
    with pytest.raises(UnknownError) as caught:
        parse_workflow(document)
    assert f"\n  {unknown}" in str(caught.value)


PARAMETERS = a_workflow(
    a_step(), arguments={"parameters": [{"name": "rounds", "value": "3"}, {"name": "name"}]}
)


def test_parameters_are_bound() -> None:
    assert bind_parameters(PARAMETERS, {"name": ""}) == {"rounds": "3", "name": ""}
    assert bind_parameters(PARAMETERS, {"name": "x", "rounds": "$HOME 'a'"}) == {
        "rounds": "$HOME 'a'",
        "name": "x",
    }


def test_a_parameter_that_nobody_binds() -> None:
    with pytest.raises(VerifyError, match=r"without a value: name\.\n.*--parameter name=…\."):
        bind_parameters(PARAMETERS, {"rounds": "1"})


def test_a_parameter_that_there_is_not() -> None:
    with pytest.raises(VerifyError, match=r"no parameter round, x\.\nIt has: rounds, name\."):
        bind_parameters(PARAMETERS, {"round": "1", "x": "2", "name": "n"})
    with pytest.raises(VerifyError, match=r"It has: none\."):
        bind_parameters(a_workflow(a_step()), {"x": "1"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("no names", "no names", id="none"),
        pytest.param("{{item}}/{{ inputs.parameters.name }}!", "3/a b!", id="two"),
        pytest.param("${x} {x} {{\nitem\n}}", "${x} {x} 3", id="shell's braces, lines"),
    ],
)
def test_names_are_replaced(text: str, expected: str) -> None:
    assert substitute(text, SCOPE) == expected


def test_a_value_is_not_looked_into_again() -> None:
    assert substitute("{{a}}", {"a": "{{b}}", "b": "1"}) == "{{b}}"


def test_a_name_without_a_value() -> None:
    with pytest.raises(VerifyError, match=r"\{\{x\.y\}\} has no value here\. Known are: inp.*item"):
        substitute("{{x.y}}", SCOPE)


def test_an_expression_is_refused() -> None:
    with pytest.raises(UnknownError, match=r"the expression \{\{=asInt\(item\) \+ 1\}\}"):
        substitute("{{=asInt(item) + 1}}", SCOPE)


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        pytest.param("{{item}} == 3", True, id="equal"),
        pytest.param("{{item}}==4", False, id="not equal"),
        pytest.param("{{item}} != 4", True, id="differs"),
        pytest.param("{{item}} != 3", False, id="does not differ"),
        pytest.param("\"{{inputs.parameters.name}}\" == 'a b'", True, id="quotes"),
        pytest.param("'' == '{{item}}'", False, id="empty"),
        pytest.param("{{run}} == '{{run}}'", True, id="brackets in a value"),
    ],
)
def test_conditions(condition: str, wanted: bool) -> None:
    assert is_wanted(condition, {**SCOPE, "run": "train(0)!"}) is wanted


@pytest.mark.parametrize(
    "condition",
    [
        "{{item}} > 3",
        "{{item}} <= 3",
        "{{item}} == 3 && 1 == 1",
        "1 == 1 || {{item}} == 3",
        "{{item}} =~ 3",
        "{{item}} in (3, 4)",
        "({{item}} == 3)",
        "!({{item}} == 3)",
        "true",
        "",
    ],
)
def test_other_conditions_are_refused(condition: str) -> None:
    with pytest.raises(UnknownError) as caught:
        is_wanted(condition, SCOPE)
    assert f"the condition `when: {condition}`" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("$(A)-$(B)", "1-2", id="variables"),
        pytest.param("$(date) $(C", "$(date) $(C", id="the shell's"),
        pytest.param("$$(A) $$", "$(A) $", id="escaped"),
        pytest.param("$$$(A)", "$1", id="escaped, and a variable"),
        pytest.param("$A ${A}", "$A ${A}", id="the shell's variables"),
        pytest.param("$(echo\n$(A))", "$(echo\n$(A))", id="up to the first bracket, over lines"),
    ],
)
def test_variables_are_expanded_as_kubernetes_does(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


def test_the_environment_of_a_container() -> None:
    step = a_read_step(
        env=[
            {"name": "B", "value": "own"},
            {"name": "C", "value": "$(A)/$(B)/{{item}}/$(D)"},
            {"name": "D", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}},
            {"name": "E", "value": "$(D)"},
            {"name": "F"},
        ],
        envFrom=[{"secretRef": {"name": "store"}}],
    )
    secrets = {"store": {"A": "1", "B": "2"}, "other": {"k": "$(A)", "more": "x"}}
    assert container_environment(step, SCOPE, secrets) == {
        "A": "1",
        "B": "own",
        "C": "1/own/3/$(D)",
        "D": "$(A)",
        "E": "$(A)",
        "F": "",
    }


def test_names_are_replaced_before_variables() -> None:
    step = a_read_step(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "{{item}}"}])
    assert container_environment(step, {"item": "$(A)"}, {}) == {"A": "1", "B": "1"}


def test_a_secret_without_the_key() -> None:
    step = a_read_step(
        env=[{"name": "K", "valueFrom": {"secretKeyRef": {"name": "store", "key": "k"}}}]
    )
    message = "secret store has no key k, which the variable K of work is to have"
    with pytest.raises(VerifyError, match=message):
        container_environment(step, {}, {"store": {"K": "1"}})


@pytest.mark.parametrize(
    ("item", "text"),
    [
        pytest.param("a b", "a b", id="text"),
        pytest.param(3, "3", id="number"),
        pytest.param(True, "true", id="truth"),
        pytest.param(None, "null", id="nothing"),
        pytest.param(["ä", {"b": 1, "a": 2}], '["ä",{"a":2,"b":1}]', id="as Go writes it"),
    ],
)
def test_items_as_text(item: object, text: str) -> None:
    assert as_text(item) == text


def test_the_graph_has_the_dags_of_dags() -> None:
    workflow = a_workflow(
        a_dag("entry", a_task("a"), a_task("each", "inner", "a", withParam="[]")),
        a_dag("inner", a_task("b")),
        a_step("work"),
    )
    start = Node(name="a", template="work", dependencies=(), foreach=False, inner=())
    b = replace(start, name="b")
    each = Node(name="each", template="inner", dependencies=("a",), foreach=True, inner=(b,))
    assert workflow.graph() == (start, each)


def test_the_graph_of_a_dag_that_calls_itself_ends() -> None:
    workflow = a_workflow(
        a_dag("entry", a_task("again", "loop")),
        a_dag("loop", a_task("deeper", "loop"), a_task("b")),
        a_step("work"),
    )
    (again,) = workflow.graph()
    deeper, b = again.inner
    assert (deeper.name, deeper.inner) == ("deeper", ())
    assert (b.name, b.inner) == ("b", ())


def test_a_workflow_of_one_step_has_no_graph() -> None:
    assert a_workflow(a_step("work")).graph() == ()
