"""What `dev` and `prod` do with findings, and that what they write has none."""

from tests.integration.conftest import Project

NESTED = """\
from metaflow import FlowSpec, Parameter, catch, environment, kubernetes, resources, retry, step

IMAGE = "{image}"


class NestedFlow(FlowSpec):
    rounds = Parameter("rounds", type=int, default=3)
    words = Parameter("some_words", default="a 'b' $HOME")

    @kubernetes(image=IMAGE)
    @step
    def start(self):
        self.items = [1, 2]
        self.next(self.outer, foreach="items")

    @kubernetes(image=IMAGE)
    @step
    def outer(self):
        self.next(self.left, self.right)

    @retry(times=2)
    @kubernetes(image=IMAGE)
    @step
    def left(self):
        self.items = [1]
        self.next(self.inner, foreach="items")

    @catch(var="failure")
    @kubernetes(image=IMAGE)
    @step
    def right(self):
        self.next(self.branches)

    @resources(cpu=2, memory=4096, gpu=1)
    @environment(vars={{"THREADS": 1, "EMPTY": ""}})
    @kubernetes(image=IMAGE)
    @step
    def inner(self):
        self.next(self.inner_join)

    @kubernetes(image=IMAGE)
    @step
    def inner_join(self, inputs):
        self.next(self.branches)

    @kubernetes(image=IMAGE)
    @step
    def branches(self, inputs):
        self.next(self.outer_join)

    @kubernetes(image=IMAGE)
    @step
    def outer_join(self, inputs):
        self.next(self.end)

    @kubernetes(image=IMAGE)
    @step
    def end(self):
        pass


if __name__ == "__main__":
    NestedFlow()
"""


def test_a_nested_flow_has_no_finding(project: Project) -> None:
    (project.folder / "flow.py").write_text(NESTED.format(image=project.image("nested:v1")))
    project.write_settings('resource-plan = "starter"\nbuilder = "registry"')
    project.succeed("dev")
    done = project.run("prod")
    assert done.returncode == 0, done.stderr
    assert "AIC" not in done.stderr
    assert project.succeed("lint", "--strict") == ""
    assert project.succeed("lint", "--strict", "flow-dev.json", "flow.lock.json") == ""


def test_errors_stop_it_and_nothing_is_written(project: Project) -> None:
    project.write_flow(project.image("a:v1"))
    project.write_settings('builder = "registry"')
    for command in ("dev", "prod"):
        done = project.run(command, "--resource-plan", "Starter")
        assert done.returncode == 13, done.stderr
        assert "AIC010 spec.templates[1].metadata.labels.ai.sap.com/resourcePlan" in done.stderr
        assert "was not written" in done.stderr
    assert "-prod-" not in done.stderr  # no image was embedded, either
    assert list(project.folder.glob("*.json")) == []


def test_warnings_are_shown_once_and_may_be_left_out(project: Project) -> None:
    project.write_flow(project.image("a:v1"))
    project.write_settings('builder = "registry"')
    done = project.run("dev")
    assert done.returncode == 0
    assert done.stderr.count("AIC009") == 1
    assert "start has neither a resource plan nor an instance type; end has neither" in done.stderr
    done = project.run("prod", "--lint-ignore", "AIC009")
    assert done.returncode == 0
    assert "AIC" not in done.stderr
    done = project.run("prod", "--lint-ignore", "AIC9")
    assert done.returncode == 3
    assert "Did you mean AIC0" in done.stderr
