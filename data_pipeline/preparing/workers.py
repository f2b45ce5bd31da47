"""Processes that keep order, hold little in memory and die with their parent."""

import collections
import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from data_pipeline.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

_function: dict[bytes, Callable[[Any], Any]] = {}  # of a worker process: the last one that came, by its pickle


class Workers:
    """Processes that apply functions to items; a single one is this process.

    They start at once, so that they import while this process does something else, and serve one function after the
    other.
    """

    def __init__(self, number: int):
        self.number = number
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None
        if number > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = concurrent.futures.ProcessPoolExecutor(number, context, initializer=_end_with_parent)
            for _ in range(number):
                _submit(self._pool, os.getpid)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`map(function, items)`, in order.

        Only a few items and results are in flight. A process keeps the function, with what it has loaded, until
        another comes.

        Raises:
          DataError: a process was killed. What the function raises is raised here.
        """
        if (pool := self._pool) is None:
            yield from map(function, items)
            return
        iterator, pickled = iter(items), pickle.dumps(function)
        running: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
        try:
            more = lambda number: running.extend(
                _submit(pool, _call, pickled, item) for item in itertools.islice(iterator, number)
            )
            more(self.number * 2)
            while running:
                result = running.popleft().result()
                more(1)
                yield result
        except BrokenProcessPool:
            said = "a worker process was killed, perhaps for memory; run again with fewer data.workers"
            raise DataError(said) from None
        finally:
            for future in running:
                future.cancel()


def _submit(
    pool: concurrent.futures.ProcessPoolExecutor, function: Callable[..., Any], *arguments: Any
) -> "concurrent.futures.Future[Any]":
    """Starts a process if there are too few. They do not hear Ctrl-C, not even while they import: the parent does."""
    with _ctrl_c_waits():
        return pool.submit(function, *arguments)


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


def _end_with_parent() -> None:
    """Ends this process when the one that started it is gone."""

    def end() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _call(pickled: bytes, item: Any) -> Any:
    if pickled not in _function:
        _function.clear()
        _function[pickled] = pickle.loads(pickled)
    return _function[pickled](item)
