"""Seconds of several ways to do one thing, which take turns: round by round, each goes first."""

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

Way = Callable[[str], Callable[[], object]]
"""Prepares a round, untimed, and returns what is timed. Its argument is new each time."""

Times = Mapping[str, Sequence[float]]
"""Seconds by way, in the order of the rounds."""


def alternate(ways: Mapping[str, Way], rounds: int, *, warm_up: bool = True) -> Times:
    """Time each way once in each round; what is written to disk before is on disk before.

    Args:
        ways: by name.
        rounds: that count.
        warm_up: begin with a round that doesn't count.
    """
    times: dict[str, list[float]] = {way: [] for way in ways}
    order = list(ways)
    stamp = time.time_ns()  # what an earlier benchmark made must not be found
    for number in range(0 if warm_up else 1, rounds + 1):
        for position, way in enumerate(order):
            timed = ways[way](f"{stamp}-{number}-{position}")
            os.sync()
            started = time.perf_counter()
            timed()
            seconds = time.perf_counter() - started
            note(f"round {number or '0 (not counted)'}: {way} {seconds:.3f} s")
            if number:
                times[way].append(seconds)
        order.append(order.pop(0))
    return times


def note(text: str) -> None:
    """Say what goes on."""
    print(text, file=sys.stderr, flush=True)


def ratios(times: Times, way: str, to: str) -> list[float]:
    """What one way takes of another's time, round by round."""
    return [one / other for one, other in zip(times[way], times[to], strict=True)]


def ratio(times: Times, way: str, to: str) -> float:
    """The same, of the medians."""
    return statistics.median(times[way]) / statistics.median(times[to])


def beyond(times: Times, way: str, other: str) -> float:
    """Seconds that one way takes longer than another, the median of the rounds."""
    pairs = zip(times[way], times[other], strict=True)
    return statistics.median(one - another for one, another in pairs)


def spread(numbers: Sequence[float], digits: int = 2) -> str:
    """Their range, as a table shows it."""
    return f"{min(numbers):.{digits}f} to {max(numbers):.{digits}f}"
