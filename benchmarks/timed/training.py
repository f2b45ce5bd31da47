"""One training by the clock, in a process of its own."""

import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.timed import Asked, System, held_out
from configuration.variants import ConfigError
from data_pipeline.errors import DataError

T = TypeVar("T")
PACE = 0.1  # share of the seconds in which the pace is measured beforehand
MOST = 10.0  # seconds of that at most
LONG = 10**6  # steps of the schedule meanwhile


def train(asked: Asked, store: str, rows_file: Path) -> dict[str, Any]:
    """Figures of one training; a loss is None where the system has diverged.

    The number of steps is that which fits into the seconds by the pace of some steps, which are done beforehand and
    thrown away. The clock stands while the held-out loss is computed.

    Returns:
      steps, seconds (of training alone), compile_seconds (what passes from drawing the first weights to the end of the
      first step, libraries imported and text read), curve (step, seconds and losses), the last losses, and facts.
    """
    rows, system = held_out.read(rows_file), opened(asked, store)
    began = time.perf_counter()
    system.begin(LONG)
    system.step()
    system.wait()
    compile_seconds = time.perf_counter() - began
    steps = max(asked.points, round(asked.seconds / pace(system, min(MOST, PACE * asked.seconds))))
    system.begin(steps)
    seconds, done, curve = 0.0, 0, []
    for stop in (round(steps * (i + 1) / asked.points) for i in range(asked.points)):
        began = time.perf_counter()
        while done < stop:
            system.step()
            done += 1
        system.wait()
        seconds += time.perf_counter() - began
        losses = {name: x if math.isfinite(x) else None for name, x in held_out.losses(system, rows).items()}
        curve.append({"step": done, "seconds": seconds, **losses})
        if losses["loss"] is None:
            break
    last = {name: curve[-1][name] for name in ("loss", "mask_loss")}
    return {
        "steps": done,
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        **last,
        "curve": curve,
        "facts": dict(system.facts),
    }


def opened(asked: Asked, store: str) -> System:
    """The system, its libraries imported and its text read."""
    if asked.family == "ours":
        from benchmarks.timed.ours import Ours

        return Ours(asked, store)
    from benchmarks.timed.peers import Peer

    return Peer(asked, store)


def pace(system: System, seconds: float, least: int = 3) -> float:
    """Seconds a step, over so many seconds."""
    began, steps = time.perf_counter(), 0
    while steps < least or time.perf_counter() - began < seconds:
        system.step()
        steps += 1
    system.wait()
    return (time.perf_counter() - began) / steps


def in_own_process(function: Callable[..., T], *arguments: Any) -> T:
    """What the function gives, in a fresh process, which ends with this one.

    Raises:
      ConfigError, DataError, OSError: as the function.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(there, function, *arguments), daemon=True)
    process.start()
    there.close()
    try:
        result = here.recv()
    except EOFError:
        raise ConfigError(f"the process of {function.__name__}{arguments[:1]} died; run again to go on") from None
    finally:
        process.kill()
        process.join()
    if isinstance(result, Exception):
        raise result
    return result


def _report(there: Any, function: Callable[..., Any], *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        there.send(function(*arguments))
    except (ConfigError, DataError, OSError) as error:
        there.send(error)


def _end_with_parent() -> None:
    """A killed parent leaves nothing behind that would share the processor with the next run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
