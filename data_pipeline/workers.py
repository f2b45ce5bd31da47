"""A pool of processes that keeps order, holds little in memory and dies with its parent."""

import collections
import concurrent.futures
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
    """`map(function, items)` on so many processes; with one worker, in this process.

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
        running = collections.deque(pool.submit(_call, item) for item in itertools.islice(iterator, workers * 2))
        while running:
            result = running.popleft().result()
            running.extend(pool.submit(_call, item) for item in itertools.islice(iterator, 1))
            yield result
    except BrokenProcessPool:
        raise DataError("a worker process was killed, perhaps for memory; run again with fewer data.workers") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the pool
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(item: Any) -> Any:
    return _function(item)
