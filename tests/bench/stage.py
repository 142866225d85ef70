"""What all rows of the benchmark share."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aicore_build.registry import RegistryClient
from tests.workbench import Workbench

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where it is measured, and how often."""

    workbench: Workbench

    registry: str
    """Host and port of a registry of the benchmark's own, which ends with it."""

    folder: Path
    """For temporary files: several GB of them."""

    rounds: int

    sizes: tuple[float, ...]
    """Of base images, in GB."""

    quick: bool

    @property
    def client(self) -> RegistryClient:
        return RegistryClient()

    def run(
        self,
        command: Sequence[str | Path],
        *,
        folder: Path = CHECKOUT,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command in the sandbox's environment; return its stdout."""
        done = subprocess.run(
            command,
            cwd=folder,
            env={**self.workbench.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
        return done.stdout
