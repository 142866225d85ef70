"""Flows to measure with: three steps with three images, or any number of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SETTINGS = """\
scenario-id = "bench"
scenario-name = "Bench"
version = "1"
"""

FLOW = """\
import os

from metaflow import FlowSpec, kubernetes, step

REGISTRY = os.environ.get("REGISTRY", "localhost:5000")


class BenchFlow(FlowSpec):
{steps}

if __name__ == "__main__":
    BenchFlow()
"""

STEP = """\
    @kubernetes(image=f"{{REGISTRY}}/{image}")
    @step
    def {name}(self):
        {body}
"""

GENERATOR = (
    "benchflow.py",
    "--datastore=s3",
    "--with=kubernetes:secrets=default-object-store-secret",
    "argo",
    "create",
    "--image-pull-secret=docker-registry-secret",
    "--label=scenarios.ai.sap.com/id:bench",
    "--label=ai.sap.com/version:1",
    "--annotation=scenarios.ai.sap.com/name:Bench",
    "--annotation=executables.ai.sap.com/name:benchflow",
    "--only-json",
)
"""Arguments of the flow's Python, as somebody calls the generator without the tool."""


@dataclass(frozen=True, slots=True)
class FlowFolder:
    """A folder with a flow of one step an image, one after the other."""

    folder: Path
    images: Sequence[str]
    """With tags, below the registry that REGISTRY names."""

    settings: str = ""

    def write(self) -> "FlowFolder":
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "aicore-build.toml"
        path.write_text(SETTINGS + self.settings, encoding="utf-8")
        self.change("first")
        return self

    @property
    def script(self) -> Path:
        return self.folder / "benchflow.py"

    def change(self, what: str) -> None:
        """Make the flow, and so its code package, another one."""
        names = ["start", *(f"step_{n}" for n in range(1, len(self.images) - 1)), "end"]
        onward = [f"self.next(self.{name})" for name in names[1:]] + ["pass"]
        steps = "\n".join(
            STEP.format(image=image, name=name, body=body)
            for image, name, body in zip(self.images, names, onward, strict=True)
        )
        self.script.write_text(f"{FLOW.format(steps=steps)}# {what}\n", encoding="utf-8")


IMAGES = ("bench-a", "bench-b", "bench-c")

THREE_SETTINGS = """\

# Something small, so that there are three different images.
images."*/bench-b:v1".requirements = ["tabulate"]
images."*/bench-c:v1".requirements = ["toolz"]
"""


def three_images(folder: Path) -> FlowFolder:
    """Write the flow with three images that differ."""
    return FlowFolder(folder, [f"{name}:v1" for name in IMAGES], THREE_SETTINGS).write()
