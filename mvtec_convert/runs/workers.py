"""Work shared out over the cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, TypeVar, cast

import cv2
import numpy as np

from mvtec_convert.errors import MORE_MEMORY, ExhaustedError
from mvtec_convert.runs.interrupts import uninterrupted

if TYPE_CHECKING:
    from concurrent.futures import Future

BATCH = 16  # items handed over at once; one by one, that costs as much as the work on a small image
AHEAD = 8  # batches for each worker that they may be ahead of who takes the results; bounds memory
ORDER = 4  # bytes; which batch is next
MOST_ORDERS = 1000  # not carried out yet; every pipe holds as many (PIPE_BUF, pipe(7)), so that none has to wait
LARGEST_BLOCK = 1 << 24  # bytes
WORTH_FORKING = 100  # items; for fewer, starting processes takes longer than they save

_allowed: ContextVar[int] = ContextVar("_allowed", default=0)

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Sequence[Item], jobs: int = 0) -> Generator[Result, None, None]:
    """`work(item)` of each item, in the order of the items, by workers that stay a bounded way ahead.

    Who may end before the last result closes it, so that no worker is still at work then.

    Processes where they can be forked, else threads. Most of an image's work holds the interpreter lock, so that two
    threads take nearly as long as one; but a process that is not forked takes as long to start as a thousand images.

    Args:
        work: depends on its argument alone, and does not change what others see; its results can be pickled.
        items: what to work on.
        jobs: workers; 0 means as many as `at_most` allows, else one for each core.
    """
    count = min(jobs or _allowed.get() or os.cpu_count() or 1, len(items) or 1)
    _keep_freed_memory()
    batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    with _one_opencv_thread():
        if count == 1:
            yield from map(work, items)
            return
        shared = _forked if len(items) >= WORTH_FORKING and _may_fork() else _threaded
        yield from shared(work, batches, count)


def _keep_freed_memory() -> None:
    """Let masks take memory that others left, instead of giving it back and asking for it anew, page by page.

    glibc keeps as much as twice the largest block that was ever freed (mallopt(3), M_MMAP_THRESHOLD). This one is never
    written to, so it takes no memory.
    """
    np.empty(LARGEST_BLOCK, np.uint8)


@contextmanager
def at_most(jobs: int) -> Iterator[None]:
    """Within the block, `in_order` takes so many workers where it is not told a number; 0: one for each core."""
    before = _allowed.set(jobs)
    try:
        yield
    finally:
        _allowed.reset(before)


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """OpenCV's own threads would fight with the workers for the cores, and wait in loops that keep them busy."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _threaded(work: Callable[[Item], Result], batches: Sequence[Sequence[Item]], count: int) -> Iterator[Result]:
    from concurrent.futures import ThreadPoolExecutor  # takes a while; processes do without

    waiting: deque[Future[list[Result]]] = deque()
    pool = ThreadPoolExecutor(count)
    try:
        for batch in batches:
            waiting.append(pool.submit(lambda batch: [work(item) for item in batch], batch))
            if len(waiting) >= count * AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], jobs: int = 0) -> Iterator[Result]:
    """The same for items that come one by one, as they are read: by threads, which need not know all of them.

    Args:
        work: see `in_order`.
        items: what to work on; at most a few for each thread wait at a time.
        jobs: threads; 0 means one for each core.
    """
    from concurrent.futures import ThreadPoolExecutor

    count = jobs if jobs > 0 else os.cpu_count() or 1
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(count)
    try:
        with _one_opencv_thread():
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= count * BATCH:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


# --- processes -------------------------------------------------------------------------------------------------------


def _may_fork() -> bool:
    """Whether this process can be forked safely: on Linux, where no other thread could hold a lock just then."""
    return sys.platform == "linux" and threading.active_count() == 1


def _forked(work: Callable[[Item], Result], batches: Sequence[Sequence[Item]], count: int) -> Iterator[Result]:
    """Who is free takes the batch that was ordered next; one is ordered for each that is handed on."""
    ahead = min(count * AHEAD, MOST_ORDERS)
    with ExitStack() as stack:
        taken, orders = map(stack.enter_context, _pipe())
        workers: list[Connection] = []
        for _ in range(count):
            workers.append(stack.enter_context(_worker(work, batches, taken, (orders, *workers))))
        done: dict[int, list[Result] | BaseException] = {}
        _order(orders, range(len(batches))[:ahead])
        for number in range(len(batches)):
            while number not in done:
                done.update(_received(result) for result in cast("list[Connection]", wait(workers)))
            _order(orders, range(len(batches))[number + ahead :][:1])
            answer = done.pop(number)
            if isinstance(answer, BaseException):
                raise answer
            yield from answer


def _received(results: Connection) -> tuple[int, Any]:
    """Number and results of a batch, or what was raised instead.

    Raises:
        ExhaustedError: the worker is gone, which only a kill explains; mostly it is the system that kills.
    """
    try:
        number, answer = results.recv()
    except EOFError:
        message = "a worker process was killed, most likely for want of memory"
        raise ExhaustedError(message, hint=MORE_MEMORY) from None
    return number, answer


def _pipe() -> tuple[Connection, Connection]:
    """Its two ends, to read from and to write to."""
    return multiprocessing.get_context("fork").Pipe(duplex=False)


def _order(orders: Connection, numbers: Iterable[int]) -> None:
    """Write down which batches are next. What is written at once is never torn apart, for all that read from a pipe."""
    for number in numbers:
        os.write(orders.fileno(), number.to_bytes(ORDER, "big"))


@contextmanager
def _worker(
    work: Callable[[Item], Result],
    batches: Sequence[Sequence[Item]],
    orders: Connection,
    inherited: Sequence[Connection],
) -> Iterator[Connection]:
    reader, writer = _pipe()
    process = multiprocessing.get_context("fork").Process(
        target=_serve, args=(work, batches, orders, writer, (reader, *inherited)), daemon=True
    )
    try:
        # While a process is forked, Python would swallow a Ctrl-C, or the new process would answer it.
        with uninterrupted(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 counts the idle threads of numpy's BLAS
            process.start()
        writer.close()
        yield reader
    finally:
        reader.close()
        if process.pid is not None:
            process.terminate()
            process.join()


def _serve(
    work: Callable[[Item], Result],
    batches: Sequence[Sequence[Item]],
    orders: Connection,
    results: Connection,
    inherited: Sequence[Connection],
) -> None:
    """What a worker does. Once nobody writes its orders, or reads its results, it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to answer
    for connection in inherited:
        connection.close()
    with suppress(BrokenPipeError):
        while order := os.read(orders.fileno(), ORDER):
            number = int.from_bytes(order, "big")
            try:
                results.send((number, [work(item) for item in batches[number]]))
            except BrokenPipeError:
                raise
            except Exception as error:  # also of results that cannot be sent
                results.send((number, error))
