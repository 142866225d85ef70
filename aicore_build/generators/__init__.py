"""Flow → workflow template: what a generator gives to the rest of the tool."""

from dataclasses import dataclass

from aicore_build.package import PackageAddress
from aicore_build.workflow import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """A workflow template, and the code that it runs."""

    workflow_template: Json

    package: PackageAddress
    """The code package, which the steps fetch when they start, unless it is embedded."""

    generator: str
    """Its name: of the package that has it."""

    generator_version: str
