import threading
import time

import pytest

from aicore_build.parallel import in_order, in_parallel


def test_results_are_in_the_order_of_the_items() -> None:
    second = threading.Event()

    def work(item: str) -> str:
        if item == "a":
            assert second.wait(10)
        else:
            second.set()
        return item.upper()

    assert in_parallel(work, ["a", "b"], 2) == ["A", "B"]


def test_nothing_to_do() -> None:
    assert in_parallel(str, [], 4) == []


def test_a_result_may_be_none() -> None:
    assert in_parallel(lambda _: None, [1, 2], 2) == [None, None]


@pytest.mark.parametrize(
    ("jobs", "most"),
    [pytest.param(1, 1, id="1"), pytest.param(3, 3, id="3"), pytest.param(9, 6, id="9")],
)
def test_at_most_so_many_at_the_same_time(jobs: int, most: int) -> None:
    lock = threading.Lock()
    running: set[int] = set()
    seen: list[int] = []
    full = threading.Barrier(most)

    def work(item: int) -> None:
        with lock:
            running.add(item)
            seen.append(len(running))
        full.wait(10)  # broken after 10 s if fewer than `most` run at the same time
        time.sleep(0.05)  # long enough for one that is too many to be seen
        with lock:
            running.remove(item)

    in_parallel(work, range(6), jobs)
    assert max(seen) == most


def test_the_first_failure_is_raised_though_others_still_run() -> None:
    release = threading.Event()

    def work(item: int) -> None:
        if item == 1:
            raise ValueError(item)
        release.wait(10)

    begin = time.monotonic()
    with pytest.raises(ValueError, match="1"):
        in_parallel(work, [0, 1, 2], 3)
    assert time.monotonic() - begin < 5
    release.set()


def test_a_failure_of_any_kind_is_raised() -> None:
    def work(_: int) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        in_parallel(work, [1], 1)


def test_threads_do_not_keep_the_program_from_ending() -> None:
    assert in_parallel(lambda _: threading.current_thread().daemon, [1, 2], 2) == [True, True]


def test_nothing_new_is_begun_after_a_failure_by_the_same_thread() -> None:
    begun = []

    def work(item: int) -> None:
        begun.append(item)
        raise ValueError(str(item))

    with pytest.raises(ValueError, match="0"):
        in_parallel(work, range(5), 1)
    time.sleep(0.05)
    assert begun == [0]


def test_in_order_each_waits_for_what_it_depends_on() -> None:
    before = {"d": ("b", "c"), "c": ("a",), "b": ("a",), "a": ()}
    done: list[str] = []

    def work(item: str) -> None:
        assert set(before[item]) <= set(done)
        time.sleep(0.02)  # long enough for one that is too early to be seen
        done.append(item)

    in_order(work, before)
    assert (done[0], set(done[1:3]), done[3:]) == ("a", {"b", "c"}, ["d"])


def test_in_order_what_is_ready_runs_side_by_side() -> None:
    all_of_them = threading.Barrier(3)
    # Broken after 10 s if one of them waits for another.
    in_order(lambda _: all_of_them.wait(10), {"a": (), "b": (), "c": ()})


def test_in_order_one_waits_for_its_own_only() -> None:
    after_a = threading.Event()

    def work(item: str) -> None:
        if item == "slow":
            assert after_a.wait(10)
        if item == "b":
            after_a.set()

    in_order(work, {"slow": (), "a": (), "b": ("a",)})


def test_in_order_nothing_to_do() -> None:
    in_order(str, {})


def test_in_order_a_failure_is_raised_at_once_and_nothing_new_is_begun() -> None:
    begun: list[str] = []
    release = threading.Event()

    def work(item: str) -> None:
        begun.append(item)
        if item == "bad":
            raise SystemExit(3)
        release.wait(10)

    begin = time.monotonic()
    with pytest.raises(SystemExit):
        in_order(work, {"slow": (), "bad": (), "after": ("slow",), "more": ("bad",)})
    assert time.monotonic() - begin < 5
    release.set()
    time.sleep(0.05)
    assert sorted(begun) == ["bad", "slow"]


def test_in_order_threads_do_not_keep_the_program_from_ending() -> None:
    daemons: list[bool] = []
    in_order(lambda _: daemons.append(threading.current_thread().daemon), {"a": ()})
    assert daemons == [True]
