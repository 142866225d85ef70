"""Several things at the same time, in threads that never keep the program from ending."""

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> list[Result]:
    """Call a function for each item, at most `jobs` at the same time; results in items' order.

    The first failure is raised at once and nothing new is begun. What still runs is ended with the
    program: the threads are daemons, unlike those of concurrent.futures, for which Python waits
    even after Ctrl-C.
    """
    todo = list(enumerate(items))
    waiting: queue.SimpleQueue[tuple[int, Item]] = queue.SimpleQueue()
    for numbered in todo:
        waiting.put(numbered)
    done: queue.SimpleQueue[tuple[int, Result | None, BaseException | None]] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                number, item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((number, function(item), None))
            except BaseException as error:
                stop.set()
                done.put((number, None, error))

    for _ in range(min(jobs, len(todo))):
        threading.Thread(target=work, daemon=True).start()
    results: dict[int, Result] = {}
    try:
        for _ in todo:
            number, result, error = done.get()
            if error is not None:
                raise error
            results[number] = result  # type: ignore[assignment]
    finally:
        stop.set()
    return [results[number] for number, _ in todo]


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Call different functions at the same time; like `in_parallel`."""
    return in_parallel(lambda call: call(), calls, len(calls))
