"""What a row of the benchmark found: a table for people, numbers for JSON, and its marks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A number that is to be reached."""

    text: str
    value: float
    limit: float

    at_least: bool = False
    """False: at most."""

    @property
    def reached(self) -> bool:
        if self.at_least:
            return self.value >= self.limit
        return self.value <= self.limit

    def __str__(self) -> str:
        wanted = f"{'at least' if self.at_least else 'at most'} {self.limit:g}"
        verdict = "reached" if self.reached else "MISSED"
        return f"{verdict}: {self.text}: {self.value:.4g}, wanted {wanted}"

    def as_json(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "value": self.value,
            "limit": self.limit,
            "at_least": self.at_least,
            "reached": self.reached,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One question, and what was measured."""

    title: str

    about: str
    """What was timed or counted, and how."""

    heading: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    """Cells of the table; the first of each is its name."""

    marks: tuple[Mark, ...]

    numbers: dict[str, Any]
    """All of them, for JSON."""

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "about": self.about,
            "marks": [mark.as_json() for mark in self.marks],
            **self.numbers,
        }


def show(row: Row) -> None:
    console = Console(highlight=False, width=100)
    console.print(f"\n[bold]{row.title}[/]\n")
    console.print(f"{row.about}\n", markup=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, heading in enumerate(row.heading):
        table.add_column(heading, justify="right" if number else "left")
    for line in row.lines:
        table.add_row(*line)
    console.print(table)
    show_marks(row.marks)


def show_marks(marks: Sequence[Mark]) -> None:
    console = Console(highlight=False, width=100)
    for mark in marks:
        console.print(f"\n{mark}" if mark is marks[0] else str(mark), markup=False)
