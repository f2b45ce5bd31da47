"""A pool of processes that keeps order, holds little in memory and dies with its parent."""

import collections
import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from data_pipeline.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

_function: Callable[[Any], Any]  # of a worker process


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """`map(function, items)` on `workers` processes; with one worker, in this process.

    Only a few items and results are in flight. The function is sent to each process once, so what
    it keeps between calls stays there.

    Raises:
      DataError: a process was killed. What the function raises is raised here.
    """
    if workers == 1:
        yield from map(function, items)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(function,)
    )
    try:
        iterator = iter(items)
        running = collections.deque(_submit(pool, item) for item in itertools.islice(iterator, workers * 2))
        while running:
            result = running.popleft().result()
            running.extend(_submit(pool, item) for item in itertools.islice(iterator, 1))
            yield result
    except BrokenProcessPool:
        raise DataError("a worker process was killed, perhaps for memory; run again with fewer data.workers") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: concurrent.futures.ProcessPoolExecutor, item: Any) -> "concurrent.futures.Future[Any]":
    """Starts a process if there are too few. They do not hear Ctrl-C, not even while they import: the parent does."""
    with _ctrl_c_waits():
        return pool.submit(_call, item)


@contextlib.contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Delays Ctrl-C, so that no process is left half started, and blocks it in the processes that are started."""
    if threading.current_thread() is not threading.main_thread():  # handlers run in the main thread alone
        yield
        return
    asked: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, handler)
        if asked:
            signal.raise_signal(signal.SIGINT)


def _start(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(item: Any) -> Any:
    return _function(item)
