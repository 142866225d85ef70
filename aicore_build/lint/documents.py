"""Files with workflow templates: JSON, and YAML as Argo CD reads it, with lines and columns.

Argo CD reads YAML by Go's yaml.v2, which differs from PyYAML: 12:30 and 2023-10-15 are text, 1e3 is
a number, y is true.
"""

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from aicore_build.lint.finding import Path
from aicore_build.lint.place import quoted

Position = tuple[int, int]
"""Line and column, both from 1."""

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NODES_LIMIT: Final = 1_000_000
"""With all aliases resolved; Go's yaml refuses excessive aliasing, too."""


class UnreadableError(Exception):
    """A file is neither JSON nor YAML that Kubernetes takes: why, and where if that is known."""

    def __init__(self, reason: str, position: Position | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position


class _Loader(_Base):  # type: ignore[misc] # is Any: which one there is differs by machine
    """Tells text from numbers as Go's yaml.v2 does."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's


_TAG: Final = "tag:yaml.org,2002:"
_PLAIN: Final = {
    "null": r"~|null|Null|NULL|",
    "bool": r"[yYnN]|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"
    r"|true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(?:[0-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+|0o[0-7_]+)",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "merge": "<<",
}
for _name, _form in _PLAIN.items():
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"(?:{_form})\Z"), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """An object in a file."""

    value: Any

    number: int
    """Among the documents of the file, from 1."""

    within: Path
    """Where it is in its document: `("items", 0)` in a list of Kubernetes."""

    text: str = field(repr=False)
    """Of the whole file."""

    def position(self, path: Path) -> Position | None:
        """Where something is; what isn't there is where it should be. None if that isn't known."""
        try:
            nodes = _nodes(self.text)
        except yaml.YAMLError:
            return None  # JSON with what YAML hasn't, such as tabs or surrogates
        return _locate(nodes[self.number - 1], (*self.within, *path))


@functools.lru_cache(maxsize=1)
def _nodes(text: str) -> tuple[yaml.Node, ...]:
    """Of a file; it is asked for once for each of its findings."""
    return tuple(yaml.compose_all(text, Loader=_Loader))


def read_documents(name: str, text: str) -> tuple[Document, ...]:
    """Read what a file holds; items of a Kubernetes list count as documents of their own.

    Args:
        name: the file's; one that ends in .json is JSON.
        text: its content.

    Raises:
        UnreadableError: it can't be read.
    """
    values = [_read_json(text)] if name.endswith(".json") else list(_read_yaml(text))
    return tuple(
        Document(value=value, number=number, within=within, text=text)
        for number, whole in enumerate(values, start=1)
        for within, value in _objects(whole)
    )


def _objects(document: Any) -> Iterator[tuple[Path, Any]]:  # noqa: ANN401 - any JSON
    if isinstance(document, dict) and document.get("kind") == "List":
        items = document.get("items")
        if isinstance(items, list):
            yield from ((("items", i), item) for i, item in enumerate(items))
    elif document is not None:
        yield (), document


def _read_json(text: str) -> Any:  # noqa: ANN401 - any JSON
    repeated: list[str] = []

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            repeated.append("")
        return found

    try:
        value = json.loads(text, object_pairs_hook=table)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"no JSON: {error.msg}", (error.lineno, error.colno)) from error
    except RecursionError:
        raise UnreadableError("no JSON that can be read: too deep", None) from None
    if repeated:
        for _ in _read_yaml(text):  # names the key, and where it is
            pass
        raise UnreadableError("a key is there twice", None)
    return value


def _read_yaml(text: str) -> Iterator[Any]:
    try:
        for node in yaml.compose_all(text, Loader=_Loader):
            _refuse_bombs(node)
            yield _value(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        position = (mark.line + 1, mark.column + 1) if mark else None
        raise UnreadableError(f"no YAML: {_reason(error, text, position)}", position) from error
    except RecursionError:
        raise UnreadableError("no YAML that can be read: too deep", None) from None


def _reason(error: yaml.YAMLError, text: str, position: Position | None) -> str:
    """What PyYAML says, without the lines around it, which may hold a secret."""
    lines = text.splitlines()
    if position and position[0] <= len(lines):
        before = lines[position[0] - 1][: position[1]]
        if "\t" in before and not before.strip():
            return "the line is indented with a tab"
    return str(getattr(error, "problem", None) or "it has a character that YAML doesn't allow")


def _position(node: yaml.Node) -> Position:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _refuse_bombs(root: yaml.Node | None) -> None:
    """Refuse a document that its aliases make endless, or huge."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = _NODES_LIMIT + 1  # for who comes here again from within
            inner = node.value if isinstance(node, yaml.CollectionNode) else ()
            flat = (
                part for item in inner for part in (item if isinstance(item, tuple) else (item,))
            )
            sizes[id(node)] = 1 + sum(map(size, flat))
        return sizes[id(node)]

    if root and size(root) > _NODES_LIMIT:
        raise UnreadableError("its aliases lead into themselves, or to too much", _position(root))


def _value(node: yaml.Node | None) -> Any:  # noqa: ANN401 - any JSON
    match node:
        case yaml.MappingNode():
            return _table(node)
        case yaml.SequenceNode():
            return [_value(item) for item in node.value]
        case yaml.ScalarNode():
            return _scalar(node)
        case _:
            return None


def _table(node: yaml.MappingNode) -> dict[str, Any]:
    found: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if key_node.tag == f"{_TAG}merge":
            sources = (
                value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            )
            for source in sources:
                if not isinstance(source, yaml.MappingNode):
                    raise UnreadableError("<< merges what is no table", _position(value_node))
                merged = {**_table(source), **merged}
            continue
        if not isinstance(key_node, yaml.ScalarNode):
            raise UnreadableError("a key is a list or a table", _position(key_node))
        key = _key(_scalar(key_node))
        if key in found:
            raise UnreadableError(f"the key {quoted(key)} is there twice", _position(key_node))
        found[key] = _value(value_node)
    return {**merged, **found} if merged else found


def _key(value: object) -> str:
    """JSON has only text for keys."""
    return value if isinstance(value, str) else json.dumps(value)


def _scalar(node: yaml.ScalarNode) -> Any:  # noqa: ANN401 - any JSON
    text: str = node.value
    match node.tag.removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() in ("y", "yes", "on", "true")
        case "int":
            return _whole_number(text)
        case "float" if "inf" in text.lower() or "nan" in text.lower():
            raise UnreadableError(f"JSON has no number {text}", _position(node))
        case "float":
            return float(text)
        case _:
            return text


def _whole_number(text: str) -> int | float | str:
    digits = text.replace("_", "")
    if re.fullmatch(r"[-+]?0[0-7]+", digits):
        return int(digits, 8)
    if re.fullmatch(r"[-+]?0\d+", digits):
        return float(digits)
    try:
        return int(digits, 0)
    except ValueError:
        return text


def _locate(node: yaml.Node, path: Path) -> Position:
    """Where a path leads to, or the last place on the way that is there."""
    position = _position(node)
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pairs = [pair for pair in node.value if pair[0].value == part]
            if not pairs:
                break
            key, node = pairs[-1]
            position = _position(key)
        elif (
            isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value)
        ):
            node = node.value[part]
            position = _position(node)
        else:
            break
    return position
