"""What benchmarks of hours share: what is measured is kept, and work is done in a process of its own; not a command."""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bert_jax.runtime import heap
from configuration import cli, locks
from configuration.variants import ConfigError
from data_pipeline.errors import DataError

T = TypeVar("T")


class Busy(Exception):
    """Another process measures this now."""


@contextlib.contextmanager
def alone(path: Path, wait: bool = True) -> Iterator[None]:
    """Keeps other processes from making this file at the same time; raises Busy if one is and `wait` is false."""
    lock = locks.hold(path.with_suffix(".lock"), wait)
    if lock is None:
        raise Busy
    try:
        yield
    finally:
        os.close(lock)


def measured(
    path: Path, asked: Mapping[str, Any], work: Callable[..., Mapping[str, Any]], *given: Any, wait: bool = True
) -> dict:
    """The figures of a piece of work, with `asked` and its `seconds`; read where they are there.

    Args:
      path: the file that keeps them.
      asked: JSON of everything that they depend on: if that has changed, the work is done again.
      work: called with `given`.
      wait: for another process that does this work; if false, Busy is raised then.
    """
    with alone(path, wait):
        if path.exists():
            found = json.loads(path.read_text())
            if all(found.get(name) == value for name, value in asked.items()):
                return found
        print(f"── {path.stem}", file=sys.stderr, flush=True)
        began = time.monotonic()
        figures = work(*given)
        found = {**asked, "seconds": time.monotonic() - began, **figures}
        cli.write_json(path, found)
        return found


def shared(jobs: Sequence[Callable[..., T]]) -> list[T]:
    """The results of jobs that call `measured` and take its `wait`; jobs that another process does now come last."""
    for job in jobs:
        with contextlib.suppress(Busy):
            job(wait=False)
    return [job(wait=True) for job in jobs]


def in_own_process(work: Callable[..., T], *given: Any) -> T:
    """What a function of a module gives, in a fresh process, which ends with this one, by SIGTERM.

    Raises:
      ConfigError, DataError, OSError: as the function.
      ConfigError: the process died.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(there, work, *given))
    process.start()
    there.close()
    try:
        result = here.recv()
    except EOFError:
        raise ConfigError(f"the process of {work.__name__}{given[:1]} died; run again to resume") from None
    except BaseException:
        process.terminate()
        raise
    finally:
        process.join()
    if isinstance(result, Exception):
        raise result
    return result


def _report(there: Any, work: Callable[..., Any], *given: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    heap.tune()
    try:
        there.send(work(*given))
    except (ConfigError, DataError, OSError) as error:
        there.send(error)


def _end_with_parent() -> None:
    """A parent that was killed leaves nothing behind that the next run would wait for; a training saves."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
