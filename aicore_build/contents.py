"""`aicore-build package`: what is in the code package, as a table or as JSON."""

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aicore_build.flow import Flow, read_flow
from aicore_build.inspection import Inspection, inspect_package, is_allowed
from aicore_build.local_package import save_package
from aicore_build.package import raw_entries
from aicore_build.secret_scan import Secret
from aicore_build.settings import Settings

_WIDE = 120
_SHOWN_FILES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A flow's code package, looked into."""

    flow: Flow
    sha1: str

    size: int
    """Bytes of `job.tar`, which is compressed."""

    inspection: Inspection
    allow_secrets: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For `--json`; documented in docs/json.md."""
        found = self.inspection
        return {
            "schema": 1,
            "command": "package",
            "flow": {"name": self.flow.name, "script": str(self.flow.script)},
            "sha1": self.sha1,
            "size": self.size,
            "total": {"files": found.total_files, "size": found.total_size},
            "metaflow": {"files": found.metaflow_files, "size": found.metaflow_size},
            "files": [
                {"name": file.name, "size": file.size, "mode": f"{file.mode:04o}"}
                for file in found.files
            ],
            "groups": [
                {"kind": str(g.kind), "path": g.path, "files": g.files, "size": g.size}
                for g in found.groups
            ],
            "secrets": [
                {
                    "file": secret.file,
                    "line": secret.line or None,
                    "kind": str(secret.kind),
                    "allowed": self._is_allowed(secret),
                }
                for secret in found.secrets
            ],
            "unreadable": list(found.unreadable),
        }

    def as_text(self, *, wide: bool) -> str:
        """For people; as wide as the terminal, or for a file wide enough."""
        return "".join(f"{line}\n" for line in (*self._table(wide=wide), *self._findings()))

    def _table(self, *, wide: bool) -> list[str]:
        from rich import box  # noqa: PLC0415 - only the table needs it
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415

        found = self.inspection
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("File", overflow="fold")
        table.add_column("Mode")
        table.add_column("Bytes", justify="right")
        for file in found.files[:_SHOWN_FILES]:
            table.add_row(file.name, f"{file.mode:04o}", f"{file.size:,}")
        if rest := found.files[_SHOWN_FILES:]:
            table.add_row(f"{len(rest)} smaller files", "", f"{sum(f.size for f in rest):,}")
        for group in (g for g in found.groups if not g.path.startswith("*")):
            table.add_row(f"{group.path} ({_files(group.files)})", "", f"{group.size:,}")
        own = f"Metaflow's own ({_files(found.metaflow_files)})"
        table.add_row(own, "", f"{found.metaflow_size:,}")
        console = Console(file=io.StringIO(), width=_WIDE if wide else None, markup=False)
        with console.capture() as capture:
            console.print(table)
        return [line.rstrip() for line in capture.get().splitlines()]

    def _findings(self) -> list[str]:
        found = self.inspection
        total = f"{_files(found.total_files)}, {found.total_size:,} bytes"
        lines = [f"{total}; job.tar: {self.size:,} bytes, sha1 {self.sha1}"]
        if found.groups:
            lines += ["", "What may not be needed when a step runs:"]
            lines += [f"  {g.kind}: {g.path}, {_files(g.files)}, {g.size:,}" for g in found.groups]
        if found.secrets:
            lines += ["", "What looks like a secret (prod refuses it, unless it is allowed):"]
            lines += [
                f"  {secret}{' (allowed)' if self._is_allowed(secret) else ''}"
                for secret in found.secrets
            ]
        if found.unreadable:
            lines += [
                "",
                "Files that only their owner may read. Prod images mend that, and a dev image's",
                "step unpacks them as its own user; in an image that unpacks as root they fail:",
                *(f"  {name}" for name in found.unreadable),
            ]
        return lines

    def _is_allowed(self, secret: Secret) -> bool:
        return is_allowed(secret, self.allow_secrets)


def contents(script: Path, settings: Settings) -> Contents:
    """Read a flow, let Metaflow make its code package, and look into it; needs no network.

    Raises:
        FlowError: the flow can't be read.
        PackageError: the package can't be made.
    """
    flow = read_flow(script, settings.python, settings.metaflow_options)
    with tempfile.TemporaryDirectory(prefix="aicore-build-") as folder:
        path = Path(folder) / "job.tar"
        sha1 = save_package(flow, path, settings.generator_timeout)
        with raw_entries(path) as entries:
            inspection = inspect_package(entries)
        return Contents(
            flow=flow,
            sha1=sha1,
            size=path.stat().st_size,
            inspection=inspection,
            allow_secrets=settings.allow_secrets,
        )


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"
