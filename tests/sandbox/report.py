"""Progress on stderr, and the error that ends a command."""

import sys
from pathlib import Path


class SandboxError(Exception):
    """What failed, why, and what to do; with the end of the log where there is one."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        if log is not None:
            message = f"{message}\nThe end of {log}:\n{tail(log)}"
        super().__init__(message)


def say(message: str) -> None:
    print(f"sandbox: {message}", file=sys.stderr, flush=True)


def tail(log: Path, lines: int = 20) -> str:
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return "  (no log was written)"
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:]) or "  (empty)"
