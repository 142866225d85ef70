"""What the command line asks of `verify`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Beside the settings."""

    quick: bool = False
    """Look at the images alone."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)
    """By name, files with what is in a secret."""

    writable_root: bool = False
    """Let the steps write wherever user 65534 may."""

    network: str | None = None
    """Docker's; None is the host's if the store is on loopback, else a bridge."""

    logs: Path | None = None
    """A folder that takes each attempt's output."""
