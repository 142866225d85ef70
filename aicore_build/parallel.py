"""Several things at the same time, in threads that never keep the program from ending."""

import queue
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
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


def in_order(
    function: Callable[[Item], Result], dependencies: Mapping[Item, Collection[Item]]
) -> None:
    """Call a function for each item as soon as all that it depends on is done; like `in_parallel`.

    Args:
        function: is called from as many threads as items are ready.
        dependencies: by item, those that have to be done before; without a cycle.
    """
    done: queue.SimpleQueue[tuple[Item, BaseException | None]] = queue.SimpleQueue()

    def work(item: Item) -> None:
        try:
            function(item)
        except BaseException as error:
            done.put((item, error))
        else:
            done.put((item, None))

    waiting = {item: set(before) for item, before in dependencies.items()}
    for _ in dependencies:
        for item in [item for item, before in waiting.items() if not before]:
            del waiting[item]
            threading.Thread(target=work, args=(item,), daemon=True).start()
        finished, error = done.get()
        if error is not None:
            raise error
        for before in waiting.values():
            before.discard(finished)
