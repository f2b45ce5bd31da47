"""Where the time of a training step goes: traces some steps of a run and lists the most expensive operations.

    python -m bert_jax.trace --config=configs/demo.py --workdir=runs/demo
    python -m bert_jax.trace --config=configs/demo.py --workdir=runs/demo --trace_dir=/tmp/trace   # for TensorBoard

Runs the configured step on the work folder's store from fresh weights, and writes no checkpoint. An operation's share
is its own time, without that of operations inside it, of the time of all; on a CPU several run at once, and what an
operation's threads do elsewhere counts for it while it waits. The shares of input and copies are of the step's time on
the clock: what the loop waited for them.
"""

import collections
import dataclasses
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
from absl import flags

from bert_jax.config import Config
from bert_jax.runtime import command, distributed, precision
from bert_jax.training.setup import (
    INPUT_WAIT,
    TO_DEVICE,
    check,
    device_batches,
    make_objective,
    open_examples,
    open_store,
)
from bert_jax.training.start import config_from_flags
from bert_jax.training.state import init_state
from bert_jax.training.step import OPTIMIZER, jit_train_step
from configuration import cli
from configuration import flags as config_flags
from configuration.variants import ConfigError

WARM_UP = 3  # steps before the trace
MOST = 10  # operations shown
CONTROL = ("while", "conditional", "call")  # operations that only contain others
_SOURCE = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = .*?\b([a-z][\w-]*)\(.*?(?:op_name=\"([^\"]*)\"|$)")


def trace_flags() -> None:
    """--steps, --phase, --trace_dir"""
    flags.DEFINE_integer("steps", 10, "Steps to trace.", lower_bound=1)
    flags.DEFINE_integer("phase", 0, "Which phase of the configuration, from 0.", lower_bound=0)
    flags.DEFINE_string("trace_dir", "", "Also keep the trace here, for TensorBoard's or Perfetto's viewer.")


def main() -> dict[str, Any]:
    """The command."""
    config = config_from_flags()
    if cli.FLAGS.phase >= len(config.phases):
        raise ConfigError(f"--phase={cli.FLAGS.phase}, but the configuration has {len(config.phases)} phases, from 0")
    with distributed.processes(), tempfile.TemporaryDirectory() as folder:
        kept = Path(cli.FLAGS.trace_dir or folder)
        figures = trace(config, Path(cli.FLAGS.workdir), cli.FLAGS.phase, cli.FLAGS.steps, kept)
    print(describe(figures))
    return figures


def trace(config: Config, workdir: Path, phase: int, steps: int, folder: Path) -> dict[str, Any]:
    """Traces the steps of one phase into `folder`; gives what `summary` says."""
    config = precision.settled(config, workdir)
    mesh = check(config)
    store = open_store(config, workdir)
    objective = make_objective(config, store, phase)
    examples = open_examples(config, store, phase, objective.needs)
    state = init_state(config, mesh, store.token_counts)
    traced = dataclasses.replace(config.phases[phase], steps=WARM_UP + steps + 1)
    batches = device_batches(examples, traced, 0, mesh)
    batch = next(batches)
    update = jit_train_step(config, config.phases[phase], objective, mesh)
    compiled = update.lower(state, batch).compile()
    for _ in range(WARM_UP):
        state, metrics = compiled(state, batch)
        batch = next(batches)
    jax.block_until_ready(state)
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # it would slow the loop that is measured
    with jax.profiler.trace(folder, profiler_options=options):
        start = time.perf_counter()
        for _ in range(steps):
            state, metrics = compiled(state, batch)
            batch = next(batches)
        jax.block_until_ready((state, metrics))
        seconds = time.perf_counter() - start
    file = max(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    return summary(jax.profiler.ProfileData.from_file(str(file)), compiled.as_text(), steps, seconds)


@dataclasses.dataclass(frozen=True)
class Event:
    """A stretch of time on one line of a trace, in nanoseconds."""

    name: str
    start: float
    end: float


def summary(profile: Any, program: str, steps: int, seconds: float) -> dict[str, Any]:
    """The figures of a trace.

    Args:
      profile: planes of lines of events, as `jax.profiler.ProfileData`.
      program: the step's HLO text, which says what each operation is for.
      steps: how many the trace holds.
      seconds: that they took.

    Returns:
      step_seconds; input_wait and copies, shares of it; optimizer, forward, backward and corrupt, shares of the
      operations' time; operations: name, seconds a step, share and source of the most expensive.
    """
    sources = sources_of(program)
    spent: collections.Counter[str] = collections.Counter()
    waited: collections.Counter[str] = collections.Counter()
    for plane in profile.planes:
        for line in plane.lines:
            events = list(line.events)
            spent += own_times(Event(o, e.start_ns, e.end_ns) for e in events if (o := operation(e, sources)))
            for event in events:
                if event.name in (INPUT_WAIT, TO_DEVICE):
                    waited[event.name] += event.duration_ns
    for name in [name for name in spent if sources[name][0] in CONTROL]:
        del spent[name]
    whole = spent.total()
    parts: collections.Counter[str] = collections.Counter()
    for name, time_spent in spent.items():
        parts[part_of(sources[name][1])] += time_spent
    return {
        "steps": steps,
        "step_seconds": seconds / steps,
        "input_wait": waited[INPUT_WAIT] / seconds / 1e9,
        "copies": waited[TO_DEVICE] / seconds / 1e9,
        "parts": {name: value / whole for name, value in parts.most_common()},
        "operations": [
            {"name": name, "seconds": t / 1e9 / steps, "share": t / whole, "source": sources[name][1]}
            for name, t in spent.most_common(MOST)
        ],
    }


def sources_of(program: str) -> dict[str, tuple[str, str]]:
    """Each instruction's operation and the JAX operation it comes from, by name."""
    found = (_SOURCE.match(line) for line in program.splitlines())
    return {match[1]: (match[2], match[3] or "") for match in found if match}


def operation(event: Any, sources: dict[str, Any]) -> str | None:
    """The instruction of the program that an event is of, or None for anything else."""
    if event.name in sources:
        return event.name
    if event.name.startswith("%"):  # a TPU's line spells the instruction out
        name = event.name[1:].partition(" ")[0]
    elif event.name.startswith("end: "):
        return None
    else:
        name = str(dict(event.stats).get("hlo_op", ""))
    return name if name in sources else None


def own_times(events: Iterable[Event]) -> collections.Counter[str]:
    """Nanoseconds of each name on one line, without nested events."""
    times: collections.Counter[str] = collections.Counter()
    open_events: list[Event] = []
    for event in sorted(events, key=lambda e: (e.start, -e.end)):
        while open_events and open_events[-1].end <= event.start:
            open_events.pop()
        if open_events:
            times[open_events[-1].name] -= event.end - event.start  # type: ignore[assignment]
        times[event.name] += event.end - event.start  # type: ignore[assignment]
        open_events.append(event)
    return times


def part_of(source: str) -> str:
    """The part of the step that an operation belongs to, by the name of its JAX operation."""
    for scope in (OPTIMIZER, "corrupt"):
        if f"/{scope}/" in source:
            return scope
    if "transpose(" in source:
        return "backward"
    return "forward" if "jvp(" in source else "other"


def describe(figures: dict[str, Any]) -> str:
    """The figures as text."""
    return "\n".join(lines(figures))


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """The figures, a line at a time."""
    yield f"{1e3 * figures['step_seconds']:.1f} ms a step over {figures['steps']} steps"
    yield f"{figures['input_wait']:7.2%} of it waits for input, {figures['copies']:.2%} copies to the device"
    yield "of the operations' time:"
    yield "   ".join(f"{name} {share:.1%}" for name, share in figures["parts"].items())
    yield "the costliest operations:"
    for o in figures["operations"]:
        yield f"{o['share']:7.1%} {1e3 * o['seconds']:8.2f} ms  {o['name']:<40} {o['source'][-90:]}"


if __name__ == "__main__":
    cli.run(
        command.computing(main),
        config_flags.config_flag,
        cli.workdir_flag,
        trace_flags,
        distributed.distributed_flags,
    )
