"""What a flow's code will miss on the cluster: files and variables, found in it as text."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from aicore_build.flow import Flow

_OPENS = re.compile(r"open|Path|load\w*|read_\w+|from_file|safe_load")
"""Names of functions whose text arguments are likely to be names of files."""

_MOST_FILES = 500
"""A folder with more Python files than this holds a virtual environment or the like."""


def hints(flow: Flow) -> tuple[str, ...]:
    """Say what the flow's code finds here and won't find on the cluster."""
    return (*unpackaged_notes(flow), *variable_notes(flow))


def variable_notes(flow: Flow) -> tuple[str, ...]:
    """Name the variables without which the flow's file can't be imported, as each step does."""
    tree = ast.parse(flow.script.read_bytes()) if flow.script.is_file() else ast.Module([], [])
    given = [step.decorators.get("environment", {}).get("vars") or {} for step in flow.steps]
    names = [
        name
        for name in dict.fromkeys(_variables_at_import(tree.body))
        if not all(name in variables for variables in given)
    ]
    if not names:
        return ()
    note = (
        f"{flow.script.name} reads {', '.join(names)} from the environment when it is imported, "
        "which each step does too, and there they are not set. Use os.environ.get(name, default)."
    )
    return (note,)


def _variables_at_import(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names in `os.environ["NAME"]`, but for those in the bodies of functions."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _variables_at_import([*node.decorator_list, node.args])
        elif isinstance(node, ast.Lambda):
            continue
        else:
            if (
                isinstance(node, ast.Subscript)
                and isinstance(node.ctx, ast.Load)
                and ast.unparse(node.value) in ("os.environ", "environ")
                and isinstance(node.slice, ast.Constant)
            ):
                yield str(node.slice.value)
            yield from _variables_at_import(ast.iter_child_nodes(node))


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
            yield _behind_folders(node)
            continue
        else:
            continue
        for text in texts:
            if isinstance(text, ast.Constant) and isinstance(text.value, str) and text.value:
                yield text.value


def _behind_folders(node: ast.expr) -> str:
    """`conf/limits.json` of `HERE / "conf" / "limits.json"`."""
    parts: list[str] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        if not (isinstance(node.right, ast.Constant) and isinstance(node.right.value, str)):
            break
        parts.insert(0, node.right.value)
        node = node.left
    return "/".join(parts)


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]


def _is_inside(path: Path, folder: Path) -> bool:
    try:
        return path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):
        return False
