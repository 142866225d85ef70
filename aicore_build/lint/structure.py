"""Argo's structure: types and keys, by the models of hera. Their import alone takes a second."""

import json
import re
import typing
from collections.abc import Iterator
from typing import Any, Final

from aicore_build.lint.finding import Finding, Path
from aicore_build.lint.place import Place, quoted
from aicore_build.lint.rules import BY_CODE, in_order
from aicore_build.settings import did_you_mean

_ANY_SCALAR: Final = re.compile(
    r".*parameters\.\d+\.(?:value|default|enum\.\d+|valueFrom\.default)|.*withItems\..*"
)
"""What Argo takes as text whatever it is: its type AnyString."""

_QUANTITY: Final = re.compile(r".*\.(?:(?:requests|limits)\..+|sizeLimit|divisor)")
"""What Kubernetes reads from numbers, too: its type Quantity."""

_OLDER: Final = frozenset({"mutex", "semaphore"})
"""Keys of older versions of Argo; which one AI Core has is not documented."""


def check_structure(document: Any) -> tuple[Finding, ...]:  # noqa: ANN401 - any JSON
    """What Argo could not read of a workflow template, or would ignore, in its order."""
    if not isinstance(document, dict):
        return ()
    errors = BY_CODE["ARG101"]
    found = [errors.finding(Place(None, path), text) for path, text in _wrong_types(document)]
    keys = BY_CODE["ARG102"]
    found += [keys.finding(Place(None, path), text) for path, text in _unknown_keys(document)]
    return in_order(document, dict.fromkeys(found))


def _wrong_types(document: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    from hera.workflows.models import WorkflowTemplate  # noqa: PLC0415 - takes a second
    from pydantic import ValidationError  # noqa: PLC0415

    try:
        # Of JSON, since only there is strict about scalars and not about tables.
        WorkflowTemplate.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        seen = set()
        for fault in error.errors(include_url=False, include_input=True):
            if fault["type"] == "missing":
                continue  # Go reads it all the same; what Argo then misses, the rules ask for
            path = _existing(document, fault["loc"])
            if path not in seen and not _is_fine(path, fault["input"]):
                seen.add(path)
                yield path, _said(fault["msg"])


def _existing(document: Any, loc: tuple[str | int, ...]) -> Path:  # noqa: ANN401
    """A location without what pydantic adds to it, such as the name of a union's member."""
    path: list[str | int] = []
    for part in loc:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            continue
        path.append(part)
    return tuple(path)


def _is_fine(path: Path, value: object) -> bool:
    where = ".".join(map(str, path))
    if not isinstance(value, str | int | float | bool):
        return False
    if _ANY_SCALAR.fullmatch(where):
        return True
    return not isinstance(value, bool) and bool(_QUANTITY.fullmatch(where))


def _said(message: str) -> str:
    """In our words: without the value, which may be secret."""
    asked = message.removeprefix("Input should be ")
    return f"it has to be {asked}" if asked != message else message


def _unknown_keys(document: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    from hera.workflows.models import WorkflowTemplate  # noqa: PLC0415 - takes a second

    yield from _keys(document, WorkflowTemplate, ())


def _keys(value: Any, model: Any, path: Path) -> Iterator[tuple[Path, str]]:  # noqa: ANN401
    """The keys of a value that its model hasn't, and so on below."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from _keys(item, model, (*path, i))
    if not isinstance(value, dict):
        return
    known = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    if set(known) == {"__root__"} or set(known) == {"root"}:
        return
    for key, inner in value.items():
        if key in _OLDER and key not in known:
            continue
        if key not in known:
            near = did_you_mean(str(key), known)
            yield (*path, key), f"Argo knows no key {quoted(key)} here.{near}"
        elif (below := _model_in(known[key])) is not None:
            yield from _keys(inner, below, (*path, key))


def _model_in(annotation: Any) -> Any:  # noqa: ANN401 - a type
    """The one model that an Optional or a list is of; None for mappings and scalars."""
    from pydantic import BaseModel  # noqa: PLC0415

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) is dict:
        return None
    models = [model for inner in typing.get_args(annotation) if (model := _model_in(inner))]
    return models[0] if len(models) == 1 else None
