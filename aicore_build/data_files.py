"""Files that a flow opens and that Metaflow doesn't pack: a hint, from the code as text."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from aicore_build.flow import Flow

_OPENS = re.compile(r"open|Path|load\w*|read_\w+|from_file|safe_load")
"""Names of functions whose text arguments are likely to be names of files."""

_MOST_FILES = 500
"""A folder with more Python files than this holds a virtual environment or the like."""


def unpackaged_notes(flow: Flow) -> tuple[str, ...]:
    """Name the files beside the flow that its code opens and that won't be in the code package."""
    folder = flow.script.parent
    files = sorted(
        name for name in _opened_files(folder) if not name.endswith(flow.package_suffixes)
    )
    if not files:
        return ()
    suffixes = ",".join(dict.fromkeys(Path(name).suffix or Path(name).name for name in files))
    note = (
        f"{', '.join(files)}: opened by the code, but Metaflow doesn't pack it. "
        f'With metaflow-options = ["--package-suffixes={suffixes}"] it does.'
    )
    return (note,)


def _opened_files(folder: Path) -> set[str]:
    found = set()
    for path in _python_files(folder):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, OSError):
            continue
        for name in _names_of_files(tree):
            for start in (folder, path.parent):
                candidate = start / name
                if _is_inside(candidate, folder):
                    found.add(str(candidate.resolve().relative_to(folder.resolve())))
    return found


def _python_files(folder: Path) -> Iterator[Path]:
    """The Python files that Metaflow packs, but for those of virtual environments."""
    count = 0
    waiting = [folder]
    while waiting:
        try:
            paths = sorted(waiting.pop().iterdir())
        except OSError:
            continue
        for path in paths:
            if path.name.startswith(".") or path.is_symlink():
                continue
            if path.is_dir() and not (path / "pyvenv.cfg").exists():
                waiting.append(path)
            elif path.suffix == ".py" and count < _MOST_FILES:
                count += 1
                yield path


def _names_of_files(tree: ast.AST) -> Iterator[str]:
    """Literal texts that are opened, or put behind a folder with `/`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _OPENS.fullmatch(_called(node)):
            texts: list[ast.expr] = [*node.args, *(k.value for k in node.keywords)]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            texts = [node.right]
        else:
            continue
        for text in texts:
            if isinstance(text, ast.Constant) and isinstance(text.value, str) and text.value:
                yield text.value


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]


def _is_inside(path: Path, folder: Path) -> bool:
    try:
        return path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):
        return False
