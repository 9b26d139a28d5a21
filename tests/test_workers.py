"""Work shared out: whatever the workers do, results come in order, errors in their place, and nobody is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from mvtec_convert.errors import ExhaustedError
from mvtec_convert.runs import workers
from mvtec_convert.runs.workers import AHEAD, BATCH, WORTH_FORKING, in_order

MANY = 5 * WORTH_FORKING + 3
BAD = 3 * BATCH + 5

needs_fork = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


@pytest.fixture(params=["processes", "threads", "alone"])
def jobs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many, with what `in_order` makes of them."""
    if request.param == "processes" and sys.platform != "linux":
        pytest.skip("processes are forked on Linux only")
    if request.param == "threads":
        monkeypatch.setattr(workers, "_may_fork", lambda: False)
    return 1 if request.param == "alone" else 3


def slow_at_first(number: int) -> int:
    """The first batches take longest, so that later ones are done before."""
    time.sleep(0.002 if number < 2 * BATCH else 0)
    return number * number


def failing(number: int) -> int:
    if number >= BAD:
        raise ValueError(f"bad {number}")
    return slow_at_first(number)


def dying(number: int) -> int:
    if number == BAD:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def beyond_sending(number: int) -> Callable[[], int] | int:
    return (lambda: number) if number == BAD else number


def test_results_come_in_the_order_of_the_items_however_long_each_takes(jobs: int) -> None:
    assert list(in_order(slow_at_first, range(MANY), jobs)) == [number * number for number in range(MANY)]


@pytest.mark.parametrize("count", [0, 1, BATCH, BATCH + 1])
def test_few_items_are_no_trouble(jobs: int, count: int) -> None:
    assert list(in_order(slow_at_first, range(count), jobs)) == [number * number for number in range(count)]


def test_an_error_is_raised_in_its_place_though_others_have_one_too(jobs: int) -> None:
    got: list[int] = []
    with pytest.raises(ValueError, match=rf"^bad {BAD}$"):
        got.extend(in_order(failing, range(MANY), jobs))
    before = [number * number for number in range(BAD)]
    assert got in (before, before[: BAD // BATCH * BATCH])  # all, or all batches


@needs_fork
def test_the_work_is_done_by_other_processes_as_many_as_asked_for() -> None:
    done_by = set(in_order(lambda _: time.sleep(0.001) or os.getpid(), range(MANY), 3))
    assert len(done_by) == 3
    assert os.getpid() not in done_by


@needs_fork
def test_who_is_slow_gets_less_to_do() -> None:
    slow = None

    def work(number: int) -> int:
        nonlocal slow
        slow = number == 0 if slow is None else slow  # in a process of its own; whoever has the first item
        time.sleep(0.02 if slow else 0.0005)
        return os.getpid()

    done_by = list(in_order(work, range(MANY), 2))
    assert done_by.count(done_by[0]) < MANY / 4


@needs_fork
def test_a_worker_that_the_system_kills_is_told_in_words() -> None:
    with pytest.raises(ExhaustedError, match="killed") as caught:
        list(in_order(dying, range(MANY), 2))
    assert "--jobs" in str(caught.value)
    assert not multiprocessing.active_children()


@needs_fork
def test_a_result_that_cannot_be_sent_is_an_error_of_its_own() -> None:
    with pytest.raises(Exception, match=r"lambda"):
        list(in_order(beyond_sending, range(MANY), 2))


@needs_fork
@pytest.mark.parametrize("taken", [0, 1, 2 * BATCH])
def test_who_stops_early_leaves_no_process_behind(taken: int) -> None:
    with closing(in_order(slow_at_first, range(MANY), 3)) as results:
        assert list(islice(results, taken)) == [number * number for number in range(taken)]
    assert not multiprocessing.active_children()


@needs_fork
def test_workers_stay_a_bounded_way_ahead_of_who_takes_the_results() -> None:
    begun = multiprocessing.get_context("fork").Value("i", 0)

    def work(number: int) -> int:
        with begun.get_lock():
            begun.value += 1
        return number

    many = range(40 * AHEAD * BATCH)
    with closing(in_order(work, many, 2)) as results:
        taken = len(list(islice(results, BATCH)))
        time.sleep(0.3)
        assert begun.value <= taken + (2 * AHEAD + 1) * BATCH


@needs_fork
def test_workers_end_once_nobody_reads_their_results() -> None:
    def killed() -> None:
        results = in_order(slow_at_first, range(100 * MANY), 2)
        next(results)
        mine = [child.pid for child in multiprocessing.active_children()]
        os.write(writer, repr(mine).encode())
        os.kill(os.getpid(), signal.SIGKILL)

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        killed()
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as file:
        pids = [int(pid) for pid in file.read().strip("[]").split(",")]
    assert len(pids) == 2
    until = time.monotonic() + 10
    while any(map(_runs, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(_runs, pids))


def _runs(pid: int) -> bool:
    """Whether a process is alive; one that nobody has waited for is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
