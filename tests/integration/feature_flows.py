"""A flow for each row of the table in docs/flows.md, as somebody would write it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TAIL = '\n\nif __name__ == "__main__":\n    TheFlow()\n'
IMAGE = '@kubernetes(image="registry.example.com/acme/flow:v1")'


NAMES = (
    *("Config", "FlowMutator", "FlowSpec", "IncludeFile", "Parameter", "StepMutator", "argo"),
    *(
        "batch",
        "card",
        "catch",
        "conda",
        "conda_base",
        "config_expr",
        "environment",
        "exit_hook",
        "kubernetes",
    ),
    *("parallel", "project", "pypi", "pypi_base", "resources", "retry", "schedule", "secrets"),
    *("step", "nvidia", "timeout", "tracked", "trigger", "user_step_decorator"),
)
"""What a flow may import from Metaflow."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A flow, and what is read with it."""

    body: str
    """The flow without its imports and its end."""

    options: tuple[str, ...] = ()
    script: str = "flow.py"
    extension: str | None = None
    """The name of a decorator that an extension of Metaflow has, beside the flow."""

    files: dict[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The whole file."""
        used = [name for name in NAMES if re.search(rf"\b{name}\(|@{name}\b|\({name}\)", self.body)]
        imports = ", ".join(dict.fromkeys([*used, "step"]))
        return f"from metaflow import {imports}\n\n\n{self.body}{TAIL}"


def of_a_step(decorators: str, **more: Any) -> Example:  # noqa: ANN401 - a field's value
    """A flow whose first step has these decorators."""
    return of_a_flow("", decorators=decorators, **more)


def of_a_flow(
    above: str,
    *,
    body: str = "",
    decorators: str = IMAGE,
    image: str = IMAGE,
    **more: Any,  # noqa: ANN401
) -> Example:
    """A flow of two steps, with lines above and in the class."""
    lines = [above, "class TheFlow(FlowSpec):", *(f"    {line}" for line in body.split("\n"))]
    lines += [f"    {line}" for line in decorators.split("\n")]
    lines += ["    @step", "    def start(self):", "        self.next(self.end)", ""]
    lines += [f"    {line}" for line in image.split("\n")]
    lines += ["    @step", "    def end(self):", "        pass"]
    return Example(body="\n".join(lines), **more)


def of_steps(*steps: str, above: str = "", **more: Any) -> Example:  # noqa: ANN401
    """A flow of steps, each `name(arguments): code`."""
    lines = [above, "class TheFlow(FlowSpec):"]
    for text in steps:
        decorators, _, signature = text.rpartition("|")
        head, _, code = signature.partition(": ")
        lines += [f"    {line}" for line in (decorators or IMAGE).split("\n")]
        lines += ["    @step", f"    def {head}:", *(f"        {c}" for c in code.split("; ")), ""]
    return Example(body="\n".join(lines), **more)


_NESTED = of_steps(
    "start(self): self.next(self.left, self.right)",
    "left(self): self.rows = [1, 2]; self.next(self.row, foreach='rows')",
    "row(self): self.cells = [3, 4]; self.next(self.cell, foreach='cells')",
    "cell(self): self.next(self.join_cells)",
    "join_cells(self, inputs): self.next(self.join_rows)",
    "join_rows(self, inputs): self.next(self.join)",
    "right(self): self.next(self.join)",
    "join(self, inputs): self.next(self.end)",
    "end(self): pass",
)

_MUTATORS = """\
class Label(FlowMutator):
    def pre_mutate(self, mutable_flow):
        for name, step in mutable_flow.steps:
            step.add_decorator("kubernetes", deco_kwargs={"image": IMAGE})


class Again(StepMutator):
    def mutate(self, mutable_step):
        mutable_step.add_decorator("retry", deco_kwargs={"times": 2})


IMAGE = "registry.example.com/acme/mutated:v1"


@Label
"""

_INHERITED = """\
class Base(FlowSpec):
    @kubernetes(image="registry.example.com/acme/base:v1")
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


class TheFlow(Base):
    pass
"""

_INCLUDE = of_a_flow(
    "", body='table = IncludeFile("table", default="table.csv")', files={"table.csv": "a,b\n1,2\n"}
)

_OUTPUT = """\
@argo(output_artifacts=[{"name": "model", "globalName": "housing", "path": "/tmp/model"}])
"""

EXAMPLES: dict[str, Example] = {
    "branches, `foreach`, nested `foreach`": _NESTED,
    "switch: `self.next({…}, condition=…)`": of_steps(
        "start(self): self.kind = 'a'; self.next({'a': self.a, 'b': self.b}, condition='kind')",
        "a(self): self.next(self.end)",
        "b(self): self.next(self.end)",
        "end(self): pass",
    ),
    "a switch back to an earlier step": of_steps(
        "start(self): self.next(self.train)",
        "train(self): self.go = 'no'; "
        "self.next({'yes': self.train, 'no': self.end}, condition='go')",
        "end(self): pass",
    ),
    "`@parallel`, `num_parallel`": of_steps(
        "start(self): self.next(self.train, num_parallel=2)",
        f"{IMAGE}\n@parallel|train(self): self.next(self.join)",
        "join(self, inputs): self.next(self.end)",
        "end(self): pass",
    ),
    "inherited steps": Example(body=_INHERITED),
    "`FlowMutator`, `StepMutator`": of_a_flow(_MUTATORS, decorators="@Again", image=""),
    "`@user_step_decorator`": of_a_flow(
        "@user_step_decorator\ndef timed(step_name, flow, inputs, attributes):\n    yield\n\n\n",
        decorators=f"{IMAGE}\n@timed",
    ),
    "`Config`, `config_expr`": of_a_flow(
        "",
        body='config = Config("config", default="config.json")',
        decorators='@kubernetes(image=config_expr("config.image"))',
        options=("--config", "config", "other.json"),
        files={
            "config.json": '{"image": "registry.example.com/acme/default:v1"}',
            "other.json": '{"image": "registry.example.com/acme/configured:v1"}',
        },
    ),
    "`Parameter`": of_a_flow(
        "", body='rounds = Parameter("rounds", default=3)\ntarget = Parameter("target", type=str)'
    ),
    "`IncludeFile`": _INCLUDE,
    "a file name with spaces, quotes and the like": of_a_flow("", script="my flow's.py"),
    "`@kubernetes(image=…, secrets=…)`": of_a_step(
        '@kubernetes(image="registry.example.com/acme/flow:v1", secrets=["tracking"])'
    ),
    "`@resources`, `@kubernetes(cpu=…, memory=…, gpu=…)`": of_a_step(
        f"{IMAGE}\n@resources(cpu=4, memory=16000)"
    ),
    "`@kubernetes(node_selector=…, tolerations=…, service_account=…, …)`": of_a_step(
        '@kubernetes(image="registry.example.com/acme/flow:v1", node_selector="gpu=a100")'
    ),
    "`@kubernetes(persistent_volume_claims=…, compute_pool=…)`": of_a_step(
        '@kubernetes(image="registry.example.com/acme/flow:v1", compute_pool="big")'
    ),
    "`@environment`": of_a_step(f'{IMAGE}\n@environment(vars={{"THREADS": "2"}})'),
    "`@timeout`": of_a_step(f"{IMAGE}\n@timeout(minutes=5)"),
    "`@retry`": of_a_step(f"{IMAGE}\n@retry(times=2, minutes_between_retries=1)"),
    "`@catch`": of_a_step(f'{IMAGE}\n@catch(var="failure")'),
    "`@card`": of_a_step(f'{IMAGE}\n@card(type="blank")'),
    "`@secrets`": of_a_step(
        f'{IMAGE}\n@secrets(sources=[{{"type": "inline", "id": "x", "options": {{}}}}])'
    ),
    "`@pypi`, `@pypi_base`": of_a_flow(
        '@pypi_base(packages={"requests": ">=2.31"})',
        decorators=f'{IMAGE}\n@pypi(packages={{"humanize": "4.9.0"}})',
    ),
    "`@conda`, `@conda_base`": of_a_step(
        f'{IMAGE}\n@conda(packages={{"conda-forge::humanize": "4.9.0"}})'
    ),
    "`@pypi(python=…)`, `@conda(python=…)`": of_a_step(
        f'{IMAGE}\n@pypi(packages={{}}, python="3.9.10")'
    ),
    "`@argo(labels=…, input_artifacts=…)`": of_a_step(
        f'{IMAGE}\n@argo(labels={{"ai.sap.com/resourcePlan": "train.l"}}, '
        'input_artifacts=[{"name": "prices", "path": "/tmp/prices"}])'
    ),
    "`@argo(output_artifacts=…)`": of_a_step(_OUTPUT + IMAGE),
    "`@schedule`": of_a_flow("@schedule(daily=True)"),
    "`@schedule` and a required parameter without a default": of_a_flow(
        "@schedule(daily=True)", body='target = Parameter("target", type=str, required=True)'
    ),
    "`@trigger`, `@trigger_on_finish`": of_a_flow('@trigger(event="prices")'),
    "`@project`": of_a_flow('@project(name="prices")', options=("--branch", "try")),
    "`@exit_hook`": of_a_flow("def tell(run):\n    pass\n\n\n@exit_hook(on_error=[tell])"),
    "`@batch`, `@slurm`, `@nvidia`, `@snowpark`, …": of_a_step("@batch", image="@batch"),
    "decorators of other extensions": of_a_step(f"{IMAGE}\n@tracked", extension="tracked"),
    "`--with catch`, `--with card`, `--with secrets`": of_a_flow(
        "", options=("--with", "catch:var=failure")
    ),
    "`--with` of other decorators": of_a_flow("", options=("--with", "retry:times=1")),
}


def write_extension(folder: Path, decorator: str) -> None:
    """Write an extension of Metaflow that has one decorator for steps."""
    plugins = folder / "metaflow_extensions" / "other" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "mfextinit_other.py").write_text(
        f'STEP_DECORATORS_DESC = [("{decorator}", ".decorator.Decorator")]\n'
    )
    (plugins / "decorator.py").write_text(
        "from metaflow.decorators import StepDecorator\n\n\n"
        f'class Decorator(StepDecorator):\n    name = "{decorator}"\n'
    )
