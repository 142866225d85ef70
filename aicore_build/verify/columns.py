"""Tasks and what they depend on → columns, and heights in them, so that edges are easy to follow.

Sugiyama's way: a task's column is the longest path that leads to it; an edge that skips columns has
a place of its own in each of them, so that it passes between the tasks; each column is sorted, and
then moved, to where its neighbours are. Tasks and such places are both *items*, named by a number.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

_SWEEPS = 8
"""How often columns are sorted and moved; in practice nothing moves after five."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where the items are; `0` to `n - 1` are the n tasks, the rest are places of edges."""

    columns: tuple[tuple[int, ...], ...]
    """From the left to the right, and each from the top to the bottom."""

    chains: tuple[tuple[int, ...], ...]
    """One an edge: a task, the edge's places, and the task that depends on it."""

    @property
    def neighbours(self) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        """For each item those that it is joined to in the column before, and in the next one."""
        before: dict[int, list[int]] = {item: [] for column in self.columns for item in column}
        after: dict[int, list[int]] = {item: [] for item in before}
        for chain in self.chains:
            for left, right in pairwise(chain):
                before[right].append(left)
                after[left].append(right)
        return before, after


def arrange(dependencies: Sequence[Iterable[int]]) -> Columns:
    """Put tasks into columns.

    Args:
        dependencies: for each task those that come before it. Of a circle, which no workflow may
            have, one edge is left out.
    """
    numbers = _column_numbers(dependencies)
    columns: list[list[int]] = [[] for _ in range(max(numbers, default=-1) + 1)]
    for task, number in enumerate(numbers):
        columns[number].append(task)
    chains = []
    free = len(numbers)
    for target, sources in enumerate(dependencies):
        for source in dict.fromkeys(sources):
            if numbers[source] < numbers[target]:
                skipped = range(numbers[source] + 1, numbers[target])
                places = range(free, free + len(skipped))
                for number, place in zip(skipped, places, strict=True):
                    columns[number].append(place)
                chains.append((source, *places, target))
                free += len(places)
    return _sorted(Columns(columns=tuple(map(tuple, columns)), chains=tuple(chains)))


def middles(columns: Columns, heights: Sequence[float], gaps: Sequence[float]) -> dict[int, float]:
    """The height of each item's middle; the topmost item begins at 0.

    Args:
        columns: as arranged.
        heights: of the items.
        gaps: what each item keeps free above it, and below.
    """
    found: dict[int, float] = {}
    distances: dict[int, float] = {}
    for column in columns.columns:
        distances[column[0]] = 0.0
        for above, below in pairwise(column):
            gap = max(gaps[above], gaps[below])
            distances[below] = (heights[above] + heights[below]) / 2 + gap
        found.update(_spread([0.0] * len(column), column, distances))
    before, after = columns.neighbours
    for sweep in range(_SWEEPS):
        joined = after if sweep % 2 == 0 else before
        for column in columns.columns[:: -1 if joined is after else 1]:
            wanted = [
                _mean([found[other] for other in joined[item]], found[item]) for item in column
            ]
            found.update(_spread(wanted, column, distances))
    top = min((middle - heights[item] / 2 for item, middle in found.items()), default=0.0)
    return {item: round(middle - top, 1) for item, middle in found.items()}


def _column_numbers(dependencies: Sequence[Iterable[int]]) -> list[int]:
    numbers: dict[int, int] = {}
    waiting = range(len(dependencies))[:]
    rest = list(waiting)
    while rest:
        ready = [task for task in rest if all(other in numbers for other in dependencies[task])]
        for task in ready or rest[:1]:
            known = [numbers[other] for other in dependencies[task] if other in numbers]
            numbers[task] = 1 + max(known, default=-1)
        rest = [task for task in rest if task not in numbers]
    return [numbers[task] for task in waiting]


def _sorted(columns: Columns) -> Columns:
    """Sort each column by where its neighbours are, from the left and from the right in turn."""
    order = [list(column) for column in columns.columns]
    before, after = columns.neighbours
    for sweep in range(_SWEEPS):
        joined = before if sweep % 2 == 0 else after
        place: dict[int, float] = {}
        for column in order[:: 1 if joined is before else -1]:
            wanted = {
                item: _mean([place[other] for other in joined[item]], number / len(column))
                for number, item in enumerate(column)
            }
            column.sort(key=wanted.__getitem__)
            place.update({item: number / len(column) for number, item in enumerate(column)})
    return Columns(columns=tuple(map(tuple, order)), chains=columns.chains)


def _spread(
    wanted: Sequence[float], column: Sequence[int], distances: dict[int, float]
) -> dict[int, float]:
    """The heights nearest to the wanted ones that keep the distances (least squares).

    Without the distances, which only add up, what is asked for is a sequence that doesn't fall:
    neighbours that would pass each other are pooled, and get the mean of what they want.
    """
    offsets: list[float] = []
    pools: list[tuple[float, int]] = []
    for want, item in zip(wanted, column, strict=True):
        offsets.append((offsets[-1] if offsets else 0.0) + distances[item])
        pools.append((want - offsets[-1], 1))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (first, first_size), (second, second_size) = pools[-2:]
            size = first_size + second_size
            pools[-2:] = [((first * first_size + second * second_size) / size, size)]
    pooled = [mean for mean, size in pools for _ in range(size)]
    return {item: mean + offset for item, mean, offset in zip(column, pooled, offsets, strict=True)}


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
