"""`aicore-build plan`: what `dev` and `prod` would do, as a table or as JSON."""

import io
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aicore_build.errors import SettingsError
from aicore_build.flow import Flow, read_flow
from aicore_build.plan import ImagePlan, plan_images
from aicore_build.run import all_notes
from aicore_build.settings import Settings
from aicore_build.workflow import plan_completion

if TYPE_CHECKING:
    from aicore_build.explain import Explanation

_WIDE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The plan for a flow."""

    flow: Flow
    images: tuple[ImagePlan, ...]
    notes: tuple[str, ...]
    """What the user should know: settings without effect, what would stop `prod`."""

    explained: "tuple[Explanation, ...]" = ()
    """Of each image, with `--explain`; else empty."""

    def as_json(self) -> dict[str, Any]:
        """For `--json`; documented in docs/json.md."""
        return {
            "schema": 1,
            "command": "plan",
            "flow": {"name": self.flow.name, "script": str(self.flow.script)},
            "images": [
                {
                    "reference": str(image.reference),
                    "steps": list(image.steps),
                    "action": "build" if image.environment else "use",
                    "base_image": _base(image) or None,
                    "dockerfile": image.environment
                    and image.environment.dockerfile
                    and str(image.environment.dockerfile),
                    "requirements": list(image.environment.requirements)
                    if image.environment
                    else [],
                    "apt_packages": list(image.environment.apt_packages)
                    if image.environment
                    else [],
                    "prod_reference": str(image.prod_reference("<package>")),
                    "explained": explanation and explanation.as_json(),
                }
                for image, explanation in zip_longest(self.images, self.explained)
            ],
            "notes": list(self.notes),
        }

    def as_table(self, *, wide: bool) -> str:
        """For people; as wide as the terminal, or for a file wide enough."""
        from rich import box  # noqa: PLC0415 - only the table needs it
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("Step", "Image", "Base", "Libraries", "dev", "prod pushes to"):
            table.add_column(heading, overflow="fold")
        for image, explanation in zip_longest(self.images, self.explained):
            current = explanation and explanation.dev and explanation.dev.up_to_date
            builds = "up to date" if current else "build and push"
            table.add_row(
                "\n".join(image.steps),
                str(image.reference),
                _base(image),
                _libraries(image),
                builds if image.environment else "use as it is",
                str(image.prod_reference("<package>")),
            )
        console = Console(file=io.StringIO(), width=_WIDE if wide else None, markup=False)
        with console.capture() as capture:
            console.print(table)
        lines = [*capture.get().splitlines()]
        for explanation in self.explained:
            lines += [*explanation.as_lines(), ""]
        return "".join(f"{line.rstrip()}\n" for line in lines)


def overview(script: Path, settings: Settings) -> Overview:
    """Read a flow and plan its images; touches nothing."""
    flow = read_flow(script, settings.python, settings.metaflow_options)
    images = plan_images(flow, settings)
    notes = list(all_notes(flow, images, settings))
    try:
        plan_completion(flow, settings)
    except SettingsError as error:
        notes.append(f"prod would stop: {error}")
    return Overview(flow=flow, images=images, notes=tuple(notes))


def _base(image: ImagePlan) -> str:
    if image.environment is None:
        return ""
    return str(image.environment.dockerfile or image.environment.base_image)


def _libraries(image: ImagePlan) -> str:
    if image.environment is None:
        return ""
    apt = [f"{package} (apt)" for package in image.environment.apt_packages]
    return "\n".join([*image.environment.requirements, *apt])
