"""A place in a document of unknown shape: looking where nothing is gives nothing."""

from collections.abc import Iterator
from typing import Any

from aicore_build.lint.finding import Path


class Place:
    """A value, and the path that leads to it; a value of None is one that isn't there."""

    __slots__ = ("path", "value")

    def __init__(self, value: Any, path: Path = ()) -> None:  # noqa: ANN401 - any JSON
        self.value = value
        self.path = path

    def __getitem__(self, key: str) -> "Place":
        """What a mapping has under a key."""
        value = self.value.get(key) if isinstance(self.value, dict) else None
        return Place(value, (*self.path, key))

    def __bool__(self) -> bool:
        """Whether there is anything, were it empty."""
        return self.value is not None

    @property
    def text(self) -> str:
        """The value where it is text, else nothing."""
        return self.value if isinstance(self.value, str) else ""

    def items(self) -> Iterator["Place"]:
        """The elements of a list."""
        if isinstance(self.value, list):
            yield from (Place(item, (*self.path, i)) for i, item in enumerate(self.value))

    def pairs(self) -> Iterator[tuple[str, "Place"]]:
        """The entries of a mapping."""
        if isinstance(self.value, dict):
            for key, value in self.value.items():
                yield str(key), Place(value, (*self.path, key))

    def within(self, *, without: tuple[str, ...] = ()) -> Iterator["Place"]:
        """This place and all below it, except what mappings have under some keys."""
        yield self
        for key, place in self.pairs():
            if key not in without:
                yield from place.within(without=without)
        for place in self.items():
            yield from place.within(without=without)

    def named(self, name: str) -> "Place | None":
        """The first element of a list that has a name."""
        return next((item for item in self.items() if item["name"].value == name), None)


_KINDS = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "a table"),
)


def kind_of(value: object) -> str:
    """What a value is, in a person's words; a message names this where the value may be secret."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "nothing")


def quoted(text: object, limit: int = 60) -> str:
    """A value in a message, cut where it is long."""
    shown = repr(text)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"
