"""How many times longer do the best peers in PyTorch need for the held-out loss that the demo's recipe reaches?

    python benchmarks/time_to_loss.py --store=runs/demo/store --folder=runs/time_to_loss \\
        --json=time_to_loss.json --png=time_to_loss.png
    python benchmarks/time_to_loss.py --store=STORE --folder=FOLDER --systems="ours,modernbert,modernbert compiled"

All train on the same documents in the same tokens, with encoders of the same depth and width, on all cores of this
machine, for equal wall-clock time. Ours is `configs/demo.py`; --config.FIELD=VALUE changes it. Peers: ModernBERT and
BERT of transformers, see timed/peers.py. Each budget has trainings of its own, whose learning rate decays to its end.
Each system takes the learning rate of --rates that is the best at the shortest budget with the first seed. Masks of the
held-out rows are drawn once, logits are computed in float32, and one function turns them into losses.

The budget is of training alone. Imports, compilation and the held-out evaluations of the curves are not in it, for no
system. The figures also count compilation in, from the first weights to the end of the first step.
How long a peer needs for our loss is interpolated between the ends of its own budgets, linearly in the logarithm of
time. Goal: 3×, at every budget.

Each training is one process, one after the other, kept in --folder and not done again: stop at any moment. Needs the
extra bench.
"""

import functools
import importlib.metadata
import math
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from configs.demo import config as demo

from benchmarks import charts
from benchmarks.kept import in_own_process, measured
from benchmarks.timed import WAYS, Asked, held_out, is_system, training
from configuration import cli
from configuration import flags as config_flags
from configuration.locks import alone_in
from configuration.variants import ConfigError
from data_pipeline.store import Store

FLAGS = flags.FLAGS
GOAL = 3.0  # times
SIZES = {"tiny": (1, 64), "demo": (2, 256), "mini": (4, 256), "small": (4, 512), "base": (12, 768)}  # layers, width
SYSTEMS = ", ".join(f"{family} ({', '.join(ways)})" for family, ways in WAYS.items())
CLOCKS = ("seconds", "seconds_with_compile")
LOSSES = {"loss": "at all predicted places", "mask_loss": "where [MASK] is shown"}
Figures = dict[str, Any]  # of one training
Found = Mapping[str, Mapping[float, Sequence[Figures]]]  # by system and budget, one for each seed


def define() -> None:
    charts.define()
    phase = demo.phases[0]
    flags.DEFINE_string("store", None, "A prepared store, such as make pretrain leaves.", required=True)
    flags.DEFINE_string("folder", None, "Where the trainings are, and stay.", required=True)
    flags.DEFINE_enum("size", "demo", list(SIZES), "Of the encoders.")
    flags.DEFINE_list("systems", ["ours", "modernbert", "bert"], f"Which, with their ways: {SYSTEMS}.")
    flags.DEFINE_list("budgets", ["60", "240", "960", "3600"], "Seconds of training.")
    flags.DEFINE_list("peer_budgets", [], "Seconds of further trainings of the peers alone, longer than ours.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Each training is done with each.")
    flags.DEFINE_list("rates", ["5e-4", "1e-3", "2e-3", "4e-3"], "Peak learning rates that each system tries.")
    flags.DEFINE_integer("batch_size", phase.batch_size, "B, rows in a batch.", lower_bound=1)
    flags.DEFINE_integer("peer_batch_size", 0, "That of the peers; 0 for the same.", lower_bound=0)
    flags.DEFINE_integer("length", phase.length, "L, tokens in a row.", lower_bound=8)
    flags.DEFINE_float("modernbert_mask_rate", 0.3, "Share of the tokens that ModernBERT predicts.", 0.01, 0.9)
    flags.DEFINE_float("bert_mask_rate", 0.15, "Share of the tokens that BERT predicts.", 0.01, 0.9)
    flags.DEFINE_integer("points", 8, "Points of each curve.", lower_bound=1)
    flags.DEFINE_integer("eval_rows", 1024, "Held-out rows at most.", lower_bound=1)
    known = lambda systems: bool(systems) and all(map(is_system, systems))
    flags.register_validator("systems", known, f"each must be a system and, after spaces, its ways: {SYSTEMS}")
    for name in ("budgets", "rates"):
        flags.register_validator(name, lambda texts: bool(texts) and numbers(texts), "must be numbers above 0")
    flags.register_validator("peer_budgets", lambda texts: numbers(texts), "must be numbers above 0")
    whole = lambda texts: bool(texts) and all(text.isdecimal() for text in texts)
    flags.register_validator("seeds", whole, "must be whole numbers from 0")


def numbers(texts: Sequence[str]) -> bool:
    """Whether these are finite numbers above 0."""
    try:
        return all(0 < float(text) < math.inf for text in texts)
    except ValueError:
        return False


def main() -> dict[str, Any]:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    folder, store = Path(FLAGS.folder), Store.open(FLAGS.store)
    with alone_in(folder, ConfigError(f"another process is at work in {folder}; wait, or give another --folder")):
        rows_file = folder / "held_out.npz"
        rows = in_own_process(held_out.draw, FLAGS.store, FLAGS.length, FLAGS.eval_rows, rows_file)
        measure = functools.partial(trained, folder, rows_file)
        rates, tuning = tuned(store, measure)
        found = all_trainings(store, rates, measure)
    print(table(found, rows))
    summary = compared(found)
    if summary:
        print(said(summary), flush=True)
    if FLAGS.png:
        draw(found)
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "torch", "transformers")},
        "size": SIZES[FLAGS.size],
        "eval_rows": rows,
        "tuning": tuning,
        "goal": GOAL,
        "compared": summary,
        "trainings": {system: {f"{b:g}": runs for b, runs in by.items()} for system, by in found.items()},
    }


def asked_of(store: Store, system: str, seconds: float, rate: float, seed: int) -> Asked:
    """One training, by the flags."""
    layers, width = SIZES[FLAGS.size]
    ours = system.startswith("ours")
    mask_rate = FLAGS.bert_mask_rate if system.startswith("bert") else FLAGS.modernbert_mask_rate
    return Asked(
        system=system,
        store=store.fingerprint,
        seconds=seconds,
        learning_rate=rate,
        seed=seed,
        layers=layers,
        width=width,
        batch_size=FLAGS.batch_size if ours else FLAGS.peer_batch_size or FLAGS.batch_size,
        length=FLAGS.length,
        mask_rate=0.0 if ours else mask_rate,
        points=FLAGS.points,
        eval_rows=FLAGS.eval_rows,
        changes=dict(config_flags.given()) if ours else {},
    )


def trained(folder: Path, rows_file: Path, asked: Asked) -> Figures:
    """The figures of one training."""
    name = f"{asked.system.replace(' ', '_')}-{asked.seconds:g}s-{asked.learning_rate:g}-{asked.seed}"
    work = (in_own_process, training.train, asked, FLAGS.store, rows_file)
    figures = measured(folder / f"{name}.json", {"asked": asdict(asked)}, *work)
    return figures | {"seconds_with_compile": figures["seconds"] + figures["compile_seconds"]}


def tuned(store: Store, measure: Callable[[Asked], Figures]) -> tuple[dict[str, float], dict[str, Any]]:
    """The best learning rate of each system at the shortest budget, and the loss with each rate, printed."""
    best, tuning = {}, {}
    shortest, seed = min(budgets("ours")), int(FLAGS.seeds[0])
    rates = sorted(float(rate) for rate in FLAGS.rates)
    for system in FLAGS.systems:
        losses = {rate: value(measure(asked_of(store, system, shortest, rate, seed))) for rate in rates}
        best[system] = min(losses, key=lambda rate: losses[rate])
        if math.isinf(losses[best[system]]):
            raise ConfigError(f"{system} diverges with every learning rate of --rates={','.join(FLAGS.rates)}")
        tuning[system] = {
            "best": best[system],
            "losses": {f"{rate:g}": None if math.isinf(loss) else loss for rate, loss in losses.items()},
        }
        edge = len(rates) > 1 and best[system] in (rates[0], rates[-1])
        tried = ", ".join(f"{rate:g} → {loss:.4f}" for rate, loss in losses.items())
        wider = "; the best is at the edge: give more --rates" if edge else ""
        print(f"{system}, learning rates at {shortest:g} s: {tried}{wider}", flush=True)
    return best, tuning


def all_trainings(store: Store, rates: Mapping[str, float], measure: Callable[[Asked], Figures]) -> Found:
    """Every system with every budget and seed; they take turns, so that a slow spell of the machine hits all."""
    found: dict[str, dict[float, list[Figures]]] = {system: {} for system in rates}
    for seconds in sorted(set(budgets("ours")) | set(budgets("peers"))):
        for seed in FLAGS.seeds:
            for system, rate in rates.items():
                if seconds in budgets(system):
                    figures = measure(asked_of(store, system, seconds, rate, int(seed)))
                    found[system].setdefault(seconds, []).append(figures)
    return found


def budgets(system: str) -> list[float]:
    """Seconds of a system's trainings."""
    more = [] if system.startswith("ours") else FLAGS.peer_budgets
    return sorted({float(seconds) for seconds in (*FLAGS.budgets, *more)})


def value(figures: Mapping[str, Any], loss: str = "loss") -> float:
    """A loss of a training or of a point of its curve; infinite where it has diverged."""
    return math.inf if figures[loss] is None else figures[loss]


def middle(runs: Sequence[Figures], loss: str) -> float:
    """Median loss of the seeds."""
    return statistics.median(value(run, loss) for run in runs)


def table(found: Found, rows: int) -> str:
    """A line for each system and budget: medians over the seeds, and the lowest and highest loss."""
    columns = f"{'steps':>7}{'seconds':>9}{'compile':>9}  {'held-out, nat':<26}{LOSSES['mask_loss']}"
    about = f"{rows} held-out rows; median, lowest and highest of {len(FLAGS.seeds)} seeds"
    lines = [about, f"{'budget':>8}  {'system':<27}{columns}"]
    for seconds in sorted({budget for by in found.values() for budget in by}):
        for system, by in found.items():
            if runs := by.get(seconds):
                steps, took, compiled = (
                    statistics.median(run[name] for run in runs) for name in ("steps", "seconds", "compile_seconds")
                )
                losses = "".join(f"{spread(runs, loss):<26}" for loss in LOSSES)
                lines.append(
                    f"{seconds:>6g} s  {system:<27}{steps:>7.0f}{took:>9.1f}{compiled:>9.1f}  {losses.rstrip()}"
                )
    return "\n".join(lines)


def spread(runs: Sequence[Figures], loss: str) -> str:
    """Median, lowest and highest loss."""
    losses = [value(run, loss) for run in runs]
    return f"{statistics.median(losses):.4f} ({min(losses):.4f}–{max(losses):.4f})"


def compared(found: Found) -> list[dict[str, Any]]:
    """For each of our budgets, loss and clock: how many times as long the best peer needs for the same loss."""
    peers = {system: by for system, by in found.items() if not system.startswith("ours")}
    lines = []
    for system in (name for name in found if name not in peers):
        for seconds, runs in found[system].items():
            for loss in LOSSES if peers else ():
                for clock in CLOCKS:
                    took = statistics.median(run[clock] for run in runs)
                    needs = {peer: seconds_for(middle(runs, loss), by, loss, clock) for peer, by in peers.items()}
                    best = min(needs, key=lambda peer: needs[peer][0])
                    times = {peer: {"times": needed / took, "bound": bound} for peer, (needed, bound) in needs.items()}
                    facts = {"system": system, "budget": seconds, "loss": loss, "clock": clock, "best_peer": best}
                    lines.append({**facts, "reached": middle(runs, loss), **times[best], "peers": times})
    return lines


def seconds_for(
    reached: float, by_budget: Mapping[float, Sequence[Figures]], loss: str, clock: str
) -> tuple[float, str]:
    """Seconds after which a system has this loss, between the ends of its budgets; or a bound, which is named.

    Returns:
      seconds, and "" if they are exact, "more than" if the longest budget ends above the loss, or "at most" if the
      shortest one ends below it.
    """
    ends = sorted((statistics.median(run[clock] for run in runs), middle(runs, loss)) for runs in by_budget.values())
    first = next((i for i, (_, end) in enumerate(ends) if end <= reached), None)
    if first is None:
        return ends[-1][0], "more than"
    if first == 0:
        return ends[0][0], "at most"
    (before, above), (after, below) = ends[first - 1], ends[first]
    share = (above - reached) / (above - below) if math.isfinite(above) else 1.0
    return before * (after / before) ** share, ""


def said(summary: Sequence[Mapping[str, Any]]) -> str:
    """A line for each budget."""
    by_clock = {(line["system"], line["budget"], line["loss"], line["clock"]): line for line in summary}
    lines = []
    for (system, budget, loss, clock), line in by_clock.items():
        if clock == CLOCKS[0]:
            compiled = by_clock[system, budget, loss, CLOCKS[1]]
            lines.append(
                f"{budget:g} s, {system} {line['reached']:.4f} nat {LOSSES[loss]}: the best peer, {line['best_peer']}, "
                f"needs {times(line)} as long, {times(compiled)} with compilation (goal: {GOAL:g}×)"
            )
    return "\n".join(lines)


def times(line: Mapping[str, Any]) -> str:
    """A ratio with its bound."""
    return f"{line['bound']} {line['times']:.2f}×".strip()


def draw(found: Found) -> None:
    """Held-out losses over time: the ends of all trainings, their medians joined, and the curves of the first seed."""
    figure, sides = charts.picture(10.0, panels=len(LOSSES))
    for side, (loss, where) in zip(sides, LOSSES.items(), strict=True):
        for number, (system, by) in enumerate(found.items()):
            colour = f"C{number}"
            for runs in by.values():
                points = lambda of, loss=loss: zip(*((each["seconds"], value(each, loss)) for each in of), strict=True)
                side.plot(*points(runs[0]["curve"]), color=colour, linewidth=0.8, alpha=0.4)
                side.plot(*points(runs), "o", color=colour, markersize=3)
            middles = [(statistics.median(run["seconds"] for run in runs), middle(runs, loss)) for runs in by.values()]
            side.plot(*zip(*middles, strict=True), color=colour, label=system)
        side.set_xscale("log")
        side.set_xlabel("seconds of training")
        side.set_title(f"Held-out loss, nat, {where}", loc="left", fontsize=10)
        side.legend(fontsize="small")
    charts.save(figure, FLAGS.png)


if __name__ == "__main__":
    cli.run(main, define)
