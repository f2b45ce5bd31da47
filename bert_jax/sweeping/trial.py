"""One trial of a sweep: a training run in a process of its own, watched, ended early if it is bad, then evaluated."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bert_jax.checkpoints.manager import read_config
from bert_jax.reporting.metrics import FILE, read_metrics
from configuration.cli import STOPPED

POLL_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a trial."""

    state: str  # "complete", "pruned" or "failed"
    value: float | None  # held-out loss, or training loss, nat a predicted token; or a dev metric
    note: str = ""  # why it ended early


@dataclasses.dataclass(frozen=True)
class Commands:
    """The processes of a trial, as lists of arguments; tests substitute others."""

    train: Callable[[Path, Mapping[str, str]], Sequence[str]]
    evaluate: Callable[[Path], Sequence[str]] | None  # None: what training wrote is compared
    score: Callable[[Path], float] | None = None  # of the trial's folder after training; None: the training loss


def commands(config: str, overrides: Mapping[str, str], held_out: bool) -> Commands:
    """`bert_jax.train` and `bert_jax.evaluate`; a trial's own fields win over `overrides`."""

    def train(workdir: Path, fields: Mapping[str, str]) -> list[str]:
        given = {"checkpoints.keep": "1", **overrides, **fields}
        flags = [f"--config.{name}={value}" for name, value in given.items()]
        return [sys.executable, "-m", "bert_jax.train", f"--config={config}", f"--workdir={workdir}", *flags]

    def evaluate(workdir: Path) -> list[str]:
        store = read_config(workdir).data.store  # outside the trial's folder, so it must be named
        return [sys.executable, "-m", "bert_jax.evaluate", f"--workdir={workdir}", f"--store={store}"]

    return Commands(train, evaluate if held_out else None)


def tuning_commands(config: str, overrides: Mapping[str, str], measure: str) -> Commands:
    """`bert_jax.finetune`; a trial's own fields win over `overrides`.

    Args:
      measure: a score of the dev examples, such as dev_accuracy; empty for the training loss.
    """

    def train(workdir: Path, fields: Mapping[str, str]) -> list[str]:
        flags = [f"--config.{name}={value}" for name, value in {**overrides, **fields}.items()]
        return [sys.executable, "-m", "bert_jax.finetune", f"--config={config}", f"--workdir={workdir}", *flags]

    def score(workdir: Path) -> float:
        return float(json.loads((workdir / "scores.json").read_text(encoding="utf-8"))["seeds"][0][measure])

    return Commands(train, None, score if measure else None)


def run(
    workdir: Path,
    fields: Mapping[str, str],
    steps: int,
    rungs: int,
    commands: Commands,
    report: Callable[[int, float], bool],
    lock: int,
) -> Outcome:
    """Trains with `fields`, or resumes the training in the folder.

    Args:
      steps: of the whole training; 0 for what config.json in the folder says, which training writes.
      rungs: how often `report` is called: rung r of them after r / rungs of the steps.
      report: gets the rung and the mean loss logged since the one before; says whether to stop.
      lock: the descriptor that marks the folder as in use; the processes of the trial hold it too.
    """
    with open(workdir / "output.txt", "ab") as output:
        process = subprocess.Popen(
            commands.train(workdir, fields), stdout=output, stderr=subprocess.STDOUT, pass_fds=(lock,)
        )
        try:
            pruned = _watch(process, workdir, steps, rungs, report)
        finally:
            _end(process)
        if pruned:
            return Outcome("pruned", None, f"stopped at step {_last_step(workdir)}: worse than the others there")
        if process.returncode == STOPPED:
            raise KeyboardInterrupt
        if process.returncode:
            state = "pruned" if _last_step(workdir) else "failed"
            return Outcome(state, None, _last_words(workdir))
        if commands.score is not None:
            return Outcome("complete", commands.score(workdir))
        steps = steps or planned_steps(workdir)
        if commands.evaluate is None:
            return Outcome("complete", _mean_loss(workdir, steps * (rungs - 1) / rungs, steps))
        done = subprocess.run(
            commands.evaluate(workdir), stdout=output, stderr=subprocess.STDOUT, pass_fds=(lock,), check=False
        )
    if done.returncode:
        return Outcome("failed", None, _last_words(workdir))
    figures = json.loads((workdir / "evaluation.json").read_text(encoding="utf-8"))
    # An objective that predicts no tokens is judged by its own loss.
    return Outcome("complete", figures.get("eval_loss", figures.get("held_out_loss")))


def _watch(
    process: subprocess.Popen[bytes], workdir: Path, steps: int, rungs: int, report: Callable[[int, float], bool]
) -> bool:
    """Follows the log until the process ends, or `report` says to stop."""
    rung = 1
    while True:
        ended = process.poll() is not None
        step = _last_step(workdir)
        steps = steps or planned_steps(workdir)
        while steps and rung < rungs and step >= steps * rung / rungs:
            loss = _mean_loss(workdir, steps * (rung - 1) / rungs, steps * rung / rungs)
            if loss is not None and report(rung, loss) and not ended:
                return True
            rung += 1
        if ended:
            return False
        time.sleep(POLL_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that still runs: it saves and stops, as after Ctrl-C."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def planned_steps(workdir: Path) -> int:
    """Of the whole training, as its configuration says; 0 before there is one."""
    path = workdir / "config.json"
    if not path.exists():
        return 0
    return sum(phase["steps"] for phase in json.loads(path.read_text(encoding="utf-8"))["phases"])


def losses(workdir: Path) -> list[tuple[int, float]]:
    """(step, loss) of each logged step."""
    path = workdir / FILE
    return [(line["step"], line["loss"]) for line in read_metrics(path)] if path.exists() else []


def _last_step(workdir: Path) -> int:
    return max((step for step, _ in losses(workdir)), default=0)


def _mean_loss(workdir: Path, after: float, until: float) -> float | None:
    values = [loss for step, loss in losses(workdir) if after < step <= until and np.isfinite(loss)]
    return float(np.mean(values)) if values else None


def _last_words(workdir: Path) -> str:
    """The last line that the trial's processes wrote."""
    lines = (workdir / "output.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return (lines or ["it ended without output"])[-1].removeprefix("error: ")
