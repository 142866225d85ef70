"""SAP AI Core's resource plans, and which of them a step that asks for resources needs. Pure."""

from dataclasses import dataclass

from aicore_build.flow import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePlan:
    """What a pod gets; from SAP's page "Choose a Resource Plan"."""

    name: str
    gpus: int
    cores: int
    gigabytes: int


def _plan(name: str, gpus: int, cores: int, gigabytes: int) -> ResourcePlan:
    return ResourcePlan(name=name, gpus=gpus, cores=cores, gigabytes=gigabytes)


RESOURCE_PLANS = (
    _plan("starter", 0, 1, 3),
    _plan("basic", 0, 3, 11),
    _plan("infer.s", 1, 3, 10),
    _plan("infer.m", 1, 7, 26),
    _plan("train.l", 1, 7, 55),
    _plan("infer.l", 1, 15, 58),
    _plan("basic.8x", 0, 31, 116),
)
"""The smallest first; those with a GPU behind those without that are as large."""

_DEFAULTS = {"cpu": 1.0, "memory": 4096.0, "gpu": 0.0}
"""What Metaflow fills in where the flow asks for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a step asks for; 0 where it asks for nothing."""

    cpu: float
    memory: float
    """MB, of 1024 to the GB."""

    gpu: float

    def fits(self, plan: ResourcePlan) -> bool:
        """Whether a plan has all of it."""
        memory = plan.gigabytes * 1024
        return self.cpu <= plan.cores and self.memory <= memory and self.gpu <= plan.gpus

    def __str__(self) -> str:
        parts = []
        if self.cpu:
            parts.append(f"cpu={self.cpu:g}")
        if self.memory:
            parts.append(f"memory={self.memory:g}")
        if self.gpu:
            parts.append(f"gpu={self.gpu:g}")
        return ", ".join(parts)


def ask_of(step: Step) -> Ask | None:
    """What a step asks for with @resources or @kubernetes; None where it asks for nothing."""
    asked = {}
    for name, default in _DEFAULTS.items():
        values = [
            _number(step.decorators[decorator].get(name))
            for decorator in ("resources", "kubernetes")
            if decorator in step.decorators
        ]
        value = max(values, default=0.0)
        asked[name] = 0.0 if value == default else value
    return Ask(**asked) if any(asked.values()) else None


def _number(value: object) -> float:
    """A value of the flow's as a number; 0 where it is none, which is Metaflow's to refuse."""
    try:
        return float(str(value or 0))
    except ValueError:
        return 0.0


def smallest_plan(ask: Ask) -> ResourcePlan | None:
    """The smallest plan that fits; None where none is that large."""
    return next((plan for plan in RESOURCE_PLANS if ask.fits(plan)), None)


def find_plan(name: str) -> ResourcePlan | None:
    """The plan of this name."""
    return next((plan for plan in RESOURCE_PLANS if plan.name == name), None)
