import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from aicore_build.errors import VerifyError
from aicore_build.verify.argo import Workflow
from aicore_build.verify.pods import Ended
from aicore_build.verify.rehearsal import Attempt, StepFailedError, rehearse
from aicore_build.verify.report import Outcome
from aicore_build.workflow import Json
from tests.unit.workflows import a_dag, a_step, a_task, a_workflow

IN_TIME = 10
"""Seconds after which a test that waits for another thread gives up."""


def ended(exit_code: int = 0, **files: str | None) -> Ended:
    """How a container ended; files by name, below /tmp."""
    return Ended(
        outcome=Outcome.FAILED if exit_code else Outcome.SUCCEEDED,
        exit_code=exit_code,
        output="",
        started=0.0,
        seconds=0.1,
        peak_memory=None,
        out_of_memory=False,
        past_deadline=False,
        files={f"/tmp/{name}": text for name, text in files.items()},
    )


def fine(_: Attempt) -> Ended:
    return ended()


class Containers:
    """A Runner that remembers what it ran, and lets a function of the test say how it ended."""

    def __init__(self, work: Callable[[Attempt], Ended] = fine) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._running = 0
        self.most = 0
        self.attempts: list[Attempt] = []

    def __call__(self, attempt: Attempt) -> Ended:
        with self._lock:
            self.attempts.append(attempt)
            self._running += 1
            self.most = max(self.most, self._running)
        try:
            return self._work(attempt)
        finally:
            with self._lock:
                self._running -= 1

    @property
    def labels(self) -> list[str]:
        return [attempt.label for attempt in self.attempts]

    def args(self) -> dict[str, str]:
        return {attempt.label: " ".join(attempt.args) for attempt in self.attempts}


def run(
    workflow: Workflow,
    containers: Containers,
    parameters: Mapping[str, str] | None = None,
    jobs: int = 4,
) -> None:
    rehearse(workflow, parameters or {}, {}, containers, jobs)


def an_output(name: str, **source: str) -> Json:
    path = {"path": f"/tmp/{name}"}
    return {"parameters": [{"name": name, "valueFrom": {**path, **source}}]}


def steps(*names: str) -> tuple[Json, ...]:
    return tuple(a_step(name) for name in names)


def test_a_step_alone() -> None:
    containers = Containers()
    run(a_workflow(a_step("work")), containers)
    assert containers.labels == ["work"]


def test_each_task_waits_for_those_it_depends_on() -> None:
    dag = a_dag(
        "entry",
        a_task("d", "end", "b", "c"),
        a_task("c", "right", "a"),
        a_task("b", "left", "a"),
        a_task("a", "start"),
    )
    done: list[str] = []

    def work(attempt: Attempt) -> Ended:
        before = {"start": [], "left": ["start"], "right": ["start"], "end": ["left", "right"]}
        assert set(before[attempt.label]) <= set(done)
        time.sleep(0.02)
        done.append(attempt.label)
        return ended()

    run(a_workflow(dag, *steps("start", "left", "right", "end")), Containers(work))
    assert (done[0], set(done[1:3]), done[3:]) == ("start", {"left", "right"}, ["end"])


def test_what_waits_for_nothing_runs_side_by_side() -> None:
    dag = a_dag("entry", a_task("a", "left"), a_task("b", "right"))
    both = threading.Barrier(2)

    def work(_: Attempt) -> Ended:
        both.wait(IN_TIME)  # broken if only one of them runs
        return ended()

    containers = Containers(work)
    run(a_workflow(dag, *steps("left", "right")), containers)
    assert containers.most == 2


@pytest.mark.parametrize(
    ("jobs", "parallelism", "most"),
    [
        pytest.param(2, None, 2, id="jobs"),
        pytest.param(4, 3, 3, id="the workflow's"),
        pytest.param(2, 3, 2, id="the lesser"),
        pytest.param(9, None, 6, id="all"),
    ],
)
def test_no_more_at_the_same_time_than_may(jobs: int, parallelism: int | None, most: int) -> None:
    dag = a_dag("entry", *(a_task(f"t{i}", "inner", withItems=[0, 1]) for i in range(3)))
    inner = a_dag("inner", a_task("a", "work"))
    full = threading.Barrier(most)

    def work(_: Attempt) -> Ended:
        full.wait(IN_TIME)  # broken if fewer than `most` run at the same time
        time.sleep(0.05)  # long enough for one that is too many to be seen
        return ended()

    containers = Containers(work)
    run(a_workflow(dag, inner, a_step("work"), parallelism=parallelism), containers, jobs=jobs)
    assert len(containers.attempts) == 6
    assert containers.most == most


def test_a_dag_for_each_item_of_each_item() -> None:
    given: dict[str, Any] = {"inputs": ("x",)}
    outer_item: dict[str, Any] = {"withItems": ["a", "b"], "arguments": {"x": "{{item}}"}}
    inner_item: dict[str, Any] = {
        "withItems": [1, 2],
        "arguments": {"x": "{{inputs.parameters.x}}{{item}}"},
    }
    workflow = a_workflow(
        a_dag("entry", a_task("each", "outer", **outer_item)),
        a_dag("outer", a_task("deeper", "inner", **inner_item), **given),
        a_dag("inner", a_task("one", "work", arguments={"x": "{{inputs.parameters.x}}"}), **given),
        a_step("work", "{{inputs.parameters.x}}", **given),
    )
    containers = Containers()
    run(workflow, containers)
    assert containers.args() == {
        "work(0)(0)": "a1",
        "work(0)(1)": "a2",
        "work(1)(0)": "b1",
        "work(1)(1)": "b2",
    }


def test_a_list_from_a_file_and_the_results_of_all_in_one() -> None:
    each: dict[str, Any] = {
        "withParam": "{{tasks.split.outputs.parameters.items}}",
        "arguments": {"x": "{{item}}"},
    }
    name = "tasks.each.outputs.parameters"
    workflow = a_workflow(
        a_dag(
            "entry",
            a_task("split", "split"),
            a_task("each", "work", "split", **each),
            a_task("join", "join", "each", arguments={"all": f"{{{{{name}}}}} {{{{{name}.id}}}}"}),
        ),
        a_step("split", outputs=an_output("items")),
        a_step("work", "{{inputs.parameters.x}}", inputs=("x",), outputs=an_output("id")),
        a_step("join", "{{inputs.parameters.all}}", inputs=("all",)),
    )

    def work(attempt: Attempt) -> Ended:
        if attempt.label == "split":
            return ended(items='[1, "ü b", {"k": [2]}]\n')
        if attempt.label == "work(0)":
            time.sleep(0.05)  # the last to end is the first in the list all the same
        return ended(id=f"id-{attempt.args[0]}")

    containers = Containers(work)
    run(workflow, containers)
    assert containers.args() == {
        "split": "",
        "work(0)": "1",
        "work(1)": "ü b",
        "work(2)": '{"k":[2]}',
        "join": '[{"id":"id-1"},{"id":"id-ü b"},{"id":"id-{\\"k\\":[2]}"}] '
        '["id-1","id-ü b","id-{\\"k\\":[2]}"]',
    }


def test_the_fields_of_an_item() -> None:
    each: dict[str, Any] = {
        "withItems": [{"name": "a", "sizes": [1, 2]}],
        "arguments": {"x": "{{item.name}}:{{item.sizes}}"},
    }
    containers = Containers()
    work = a_step("work", "{{inputs.parameters.x}}", inputs=("x",))
    run(a_workflow(a_dag("entry", a_task("each", **each)), work), containers)
    assert containers.args() == {"work(0)": "a:[1,2]"}


def test_a_list_without_items_runs_nothing() -> None:
    name = "{{tasks.each.outputs.parameters}}"
    dag = a_dag(
        "entry", a_task("each", withItems=[]), a_task("b", "end", "each", arguments={"x": name})
    )
    end = a_step("end", "{{inputs.parameters.x}}", inputs=("x",))
    containers = Containers()
    run(a_workflow(dag, a_step("work"), end), containers)
    assert containers.args() == {"end": "[]"}


@pytest.mark.parametrize("text", ["3", '{"a": 1}', "a,b", ""])
def test_what_is_no_list_has_no_items(text: str) -> None:
    workflow = a_workflow(a_dag("entry", a_task("each", withParam=text)), a_step("work"))
    containers = Containers()
    with pytest.raises(VerifyError, match="The task each runs once for each item of a list, but"):
        run(workflow, containers)
    assert containers.attempts == []


def chain(output: Json) -> Workflow:
    """A step that gives a parameter x, and one that takes it."""
    given = {"x": "{{tasks.a.outputs.parameters.x}}"}
    return a_workflow(
        a_dag("entry", a_task("a", "give"), a_task("b", "take", "a", arguments=given)),
        a_step("give", outputs=output),
        a_step("take", "<{{inputs.parameters.x}}>", inputs=("x",)),
    )


@pytest.mark.parametrize(
    ("output", "file", "taken"),
    [
        pytest.param(an_output("x"), "v\n", "<v>", id="file"),
        pytest.param(an_output("x"), " v\n\n", "< v\n>", id="only the last line end goes"),
        pytest.param(an_output("x"), "", "<>", id="empty file"),
        pytest.param(an_output("x", default="d"), "v", "<v>", id="file before default"),
        pytest.param(an_output("x", default="d"), None, "<d>", id="default"),
        pytest.param(an_output("x", default=""), None, "<>", id="empty default"),
        pytest.param(
            {"parameters": [{"name": "x", "value": "{{retries}}{{workflow.parameters.p}}"}]},
            None,
            "<0q>",
            id="text",
        ),
    ],
)
def test_an_output_parameter(output: Json, file: str | None, taken: str) -> None:
    containers = Containers(lambda _: ended(x=file))
    run(chain(output), containers, {"p": "q"})
    assert containers.args()["take"] == taken


def test_an_output_file_that_is_not_there() -> None:
    containers = Containers(lambda _: ended(x=None))
    message = "give ended well, but without the file /tmp/x, from which its output parameter x is"
    with pytest.raises(VerifyError, match=message):
        run(chain(an_output("x")), containers)
    assert containers.labels == ["give"]


def test_the_outputs_of_a_dag() -> None:
    inner = a_dag("inner", a_task("a", "give"), outputs={"y": "{{tasks.a.outputs.parameters.x}}!"})
    given = {"x": "{{tasks.in.outputs.parameters.y}}"}
    workflow = a_workflow(
        a_dag("entry", a_task("in", "inner"), a_task("b", "take", "in", arguments=given)),
        inner,
        a_step("give", outputs=an_output("x")),
        a_step("take", "{{inputs.parameters.x}}", inputs=("x",)),
    )
    containers = Containers(lambda _: ended(x="v"))
    run(workflow, containers)
    assert containers.args()["take"] == "v!"


def test_a_retry_that_succeeds() -> None:
    args = ("{{retries}}", "{{pod.name}}", "$(WHO)")
    env = [{"name": "WHO", "value": "try-{{retries}}"}]
    step = a_step("work", *args, env=env, retryStrategy={"limit": 3})
    dag = a_dag("entry", a_task("a"), a_task("b", "end", "a"))
    containers = Containers(lambda attempt: ended(1 if attempt.number == 0 else 0))
    workflow = a_workflow(dag, step, a_step("end", retryStrategy={"limit": 1}))
    run(workflow, containers)
    ran = [(attempt.label, attempt.number) for attempt in containers.attempts]
    assert ran == [("work", 0), ("work", 1), ("end", 0), ("end", 1)]
    first, second = containers.attempts[:2]
    assert (first.args[0], first.args[2], first.environment) == ("0", "try-0", {"WHO": "try-0"})
    assert (second.args[0], second.args[2], second.environment) == ("1", "try-1", {"WHO": "try-1"})
    assert first.args[1] != second.args[1]
    assert first.args[1].startswith("trainflow-")


def test_retries_that_are_exhausted() -> None:
    containers = Containers(lambda attempt: ended(10 + attempt.number))
    dag = a_dag("entry", a_task("a"), a_task("b", "end", "a"))
    workflow = a_workflow(dag, a_step("work", retryStrategy={"limit": 2}), a_step("end"))
    with pytest.raises(StepFailedError) as caught:
        run(workflow, containers)
    assert containers.labels == ["work"] * 3
    assert (caught.value.attempt.label, caught.value.attempt.number) == ("work", 2)
    assert caught.value.ended.exit_code == 12


def test_a_task_that_is_not_wanted_is_passed_over() -> None:
    dag = a_dag(
        "entry",
        a_task("a", when="{{workflow.parameters.p}} == x"),
        a_task("b", "end", "a", when="{{tasks.a.status}} == Skipped"),
    )
    workflow = a_workflow(dag, *steps("work", "end"))
    containers = Containers()
    run(workflow, containers, {"p": "y"})
    assert containers.labels == ["end"]


def test_a_task_that_is_wanted_runs() -> None:
    containers = Containers()
    wanted = a_task("a", when="{{workflow.parameters.p}} == x")
    run(a_workflow(a_dag("entry", wanted), a_step("work")), containers, {"p": "x"})
    assert containers.labels == ["work"]


def test_the_workflows_parameters_are_known_everywhere() -> None:
    hostile = """a "b" $HOME 'c' {{item}}"""
    work = a_step(
        "work", "{{workflow.parameters.p}}", "{{workflow.name}}", "{{inputs.parameters.x}}"
    )
    work["inputs"] = {"parameters": [{"name": "x", "default": "d"}]}
    containers = Containers()
    run(a_workflow(a_dag("entry", a_task("a")), work), containers, {"p": hostile})
    value, name, default = containers.attempts[0].args
    assert value == hostile
    assert name.startswith("trainflow-")
    assert default == "d"


def test_what_a_task_gives_counts_before_the_default() -> None:
    work = a_step("work", "<{{inputs.parameters.x}}>")
    work["inputs"] = {"parameters": [{"name": "x", "default": "d"}]}
    dag = a_dag("entry", a_task("a", arguments={"x": ""}))
    containers = Containers()
    run(a_workflow(dag, work), containers)
    assert containers.args() == {"work": "<>"}


def test_a_template_that_is_not_given_its_parameter() -> None:
    workflow = a_workflow(a_dag("entry", a_task("a")), a_step("work", inputs=("x",)))
    with pytest.raises(VerifyError, match="template work is called without its parameter x"):
        run(workflow, Containers())


def test_secrets_are_in_the_environment() -> None:
    containers = Containers()
    work = a_step("work", "$(KEY)", envFrom=[{"secretRef": {"name": "store"}}])
    rehearse(a_workflow(work), {}, {"store": {"KEY": "k"}}, containers, 1)
    (attempt,) = containers.attempts
    assert (attempt.args, attempt.environment) == (("k",), {"KEY": "k"})


def test_nothing_is_begun_after_a_failure() -> None:
    dag = a_dag("entry", *(a_task(f"t{i}", f"s{i}") for i in range(4)))
    containers = Containers(lambda _: ended(1))
    with pytest.raises(StepFailedError):
        run(a_workflow(dag, *steps("s0", "s1", "s2", "s3")), containers, jobs=1)
    time.sleep(0.1)  # long enough for those that wait for the slot
    assert len(containers.attempts) == 1


def test_items_are_not_begun_after_a_failure() -> None:
    workflow = a_workflow(a_dag("entry", a_task("each", withItems=list(range(9)))), a_step("work"))
    containers = Containers(lambda _: ended(1))
    with pytest.raises(StepFailedError):
        run(workflow, containers, jobs=1)
    time.sleep(0.1)
    assert containers.labels == ["work(0)"]


def test_a_branch_beside_a_failure_goes_no_further() -> None:
    dag = a_dag(
        "entry",
        a_task("a", "bad"),
        a_task("b", "slow"),
        a_task("c", "end", "b"),
        a_task("d", "x", "c"),
    )
    inner = a_dag("x", a_task("deep", "end"))
    failed, over = threading.Event(), threading.Event()
    both = threading.Barrier(2)

    def work(attempt: Attempt) -> Ended:
        both.wait(IN_TIME)
        if attempt.label == "bad":
            return ended(1)
        failed.wait(IN_TIME)
        over.set()
        return ended(1 if attempt.number == 0 else 0)

    containers = Containers(work)
    slow = a_step("slow", retryStrategy={"limit": 1})
    begin = time.monotonic()
    with pytest.raises(StepFailedError) as caught:
        run(a_workflow(dag, inner, slow, *steps("bad", "end")), containers)
    assert caught.value.attempt.label == "bad"
    assert time.monotonic() - begin < IN_TIME / 2  # it is told though another still runs
    failed.set()
    assert over.wait(IN_TIME)
    time.sleep(0.1)
    assert sorted(containers.labels) == ["bad", "slow"]


def test_an_error_of_the_runner_is_raised() -> None:
    def work(_: Attempt) -> Ended:
        raise VerifyError("no engine")

    with pytest.raises(VerifyError, match="no engine"):
        run(a_workflow(a_dag("entry", a_task("a")), a_step("work")), Containers(work))


CHOICE = (
    "({{=(tasks['start'].status == 'Succeeded' ? "
    "tasks['start'].outputs.parameters['switch-step'] : nil) == '%s'}})"
)
"""As Metaflow writes it."""


def test_a_switch_runs_the_step_that_was_chosen_and_goes_on() -> None:
    start = a_step("start")
    start["outputs"] = {"parameters": [{"name": "switch-step", "value": "big"}]}
    both = {"p": "{{tasks.big.outputs.parameters.id}},{{tasks.small.outputs.parameters.id}}"}
    branches = steps("big", "small")
    for branch in branches:
        branch["outputs"] = {"parameters": [{"name": "id", "value": f"of {branch['name']}"}]}
    tasks = [
        a_task("start", "start"),
        a_task("big", "big", depends="start.Succeeded", when=CHOICE % "big"),
        a_task("small", "small", depends="start.Succeeded", when=CHOICE % "small"),
        a_task("after-small", "big", depends="small.Succeeded"),
        a_task("end", "end", depends="big.Succeeded || small.Succeeded", arguments=both),
    ]
    end = a_step("end", "{{inputs.parameters.p}}", inputs=("p",))
    containers = Containers()
    run(a_workflow(a_dag("entry", *tasks), start, *branches, end), containers)
    assert containers.labels == ["start", "big", "end"]
    # What was skipped stays as it is written, which Metaflow expects.
    assert containers.attempts[-1].args == ("of big,{{tasks.small.outputs.parameters.id}}",)


def test_a_task_that_needs_all_waits_for_all_and_one_that_needs_one_for_one() -> None:
    skipped = a_task("a", when="1 == 2")
    tasks = [
        skipped,
        a_task("b"),
        a_task("all", "all", depends="a.Succeeded && b.Succeeded"),
        a_task("one", "one", depends="a || b"),
        a_task("over", "over", "a", "b"),
    ]
    containers = Containers()
    run(a_workflow(a_dag("entry", *tasks), *steps("work", "all", "one", "over")), containers)
    assert sorted(containers.labels) == ["one", "over", "work"]


def test_a_branch_beside_an_error_goes_no_further() -> None:
    dag = a_dag("entry", a_task("a", "bad"), a_task("b", "slow"))
    told = threading.Event()
    both = threading.Barrier(2)

    def work(attempt: Attempt) -> Ended:
        both.wait(IN_TIME)
        if attempt.label == "bad":
            raise VerifyError("no engine")
        told.wait(IN_TIME)
        return ended(1)

    containers = Containers(work)
    slow = a_step("slow", retryStrategy={"limit": 1})
    with pytest.raises(VerifyError, match="no engine"):
        run(a_workflow(dag, slow, a_step("bad")), containers)
    told.set()
    time.sleep(0.1)  # long enough for a second attempt to be begun
    assert sorted(containers.labels) == ["bad", "slow"]
