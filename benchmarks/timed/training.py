"""One training by the clock."""

import math
import time
from pathlib import Path
from typing import Any

from benchmarks.timed import Asked, System, held_out

PACE = 0.1  # share of the seconds in which the pace is measured beforehand
MOST = 10.0  # seconds of that at most
LONG = 10**6  # steps of the schedule meanwhile


def train(asked: Asked, store: str, rows_file: Path) -> dict[str, Any]:
    """Figures of one training; a loss is None where the system has diverged.

    The number of steps is that which fits into the seconds by the pace of some steps, which are done beforehand and
    thrown away. The clock stands while the held-out loss is computed.

    Returns:
      steps, seconds (of training alone, and of what is learnt before the first step), compile_seconds (what passes
      from drawing the first weights to the end of the first step, libraries imported and text read), curve (step,
      seconds and losses), the last losses, and facts.
    """
    rows, system = held_out.read(rows_file), opened(asked, store)
    began = time.perf_counter()
    system.begin(LONG)
    system.step()
    system.wait()
    compile_seconds = time.perf_counter() - began
    left = asked.seconds - system.head_start
    steps = max(asked.points, round(left / pace(system, min(MOST, PACE * asked.seconds))))
    system.begin(steps)
    seconds, done, curve = system.head_start, 0, []
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
