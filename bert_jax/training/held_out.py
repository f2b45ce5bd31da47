"""The hook that evaluates on held-out rows during training, keeps the best score, and stops early."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from bert_jax import transforms
from bert_jax.config import Config
from bert_jax.reporting.metrics import FILE, read_metrics
from bert_jax.runtime import distributed, sharding
from bert_jax.training.hooks import Hook, Update
from configuration.variants import ConfigError

Figures = dict[str, float]


class Best(NamedTuple):
    """The best evaluation so far."""

    score: float = math.inf  # the lower, the better
    step: int = 0
    since: int = 0  # evaluations after it


class HeldOut(Hook):
    """Evaluates every `eval_every` steps and after the last one of the run.

    The best score is read from the log, which has every evaluation before a checkpoint is written: an interrupted run
    stops early at the same step as an uninterrupted one.
    """

    def __init__(
        self,
        config: Config,
        workdir: Path,
        mesh: jax.sharding.Mesh,
        evaluate: Callable[[Any, int], Figures],
        main: str,
        say: Callable[[str], None],
    ):
        """Expects the log to hold no steps after the one that the run starts from.

        Args:
          evaluate: figures of parameters on the mesh after so many updates, the same on every process.
          main: the figure that `config.best_metric` means if it is empty.
          say: writes a line.
        """
        self.every, self._config, self._file = config.eval_every, config, workdir / FILE
        self._metric, self._sign = config.best_metric or main, 1 if config.best_mode == "min" else -1
        self._evaluate, self._say, self._transformed = evaluate, say, transformed(config, mesh)
        self._best = Best()
        self.go_back(0)
        if self.over:
            say(f"training has ended early: {self._in_words()}")

    @property
    def over(self) -> bool:
        """Whether the run ends, since it no longer improves."""
        return 0 < self._config.patience <= self._best.since

    def __call__(self, update: Update) -> None:
        """Evaluates, unless the run was asked to stop: then it knows what an uninterrupted run would know."""
        if update.step % self.every and update.step != self._config.steps:
            return
        jax.block_until_ready(update.metrics["loss"])
        begin = time.perf_counter()
        update.figures = self._evaluate(self._transformed(update.state), update.step)
        update.aside = time.perf_counter() - begin
        if self._metric not in update.figures:
            raise ConfigError(
                f"config.best_metric is {self._metric!r}; the evaluators give {', '.join(update.figures)}: name one"
            )
        update.score = self._sign * update.figures[self._metric]
        update.best = update.score < self._best.score
        self._best = following(self._best, update.step, update.score)
        figure = f"{self._metric} {update.figures[self._metric]:.4f}"
        self._say(f"step {update.step}: {figure} on held-out rows, {self._in_words()}")
        update.last |= self.over

    def go_back(self, step: int) -> None:
        """Reads the best from the log, from which the steps after `step` have been dropped."""
        best = Best()
        if jax.process_index() == 0 and self._file.exists():
            best = best_of(read_metrics(self._file), self._metric, self._sign)
        score, at, since = distributed.of_first_process(best)
        self._best = Best(score, int(at), int(since))

    def _in_words(self) -> str:
        if not self._best.since:
            return "the best so far"
        best = f"{self._sign * self._best.score:.4f} at step {self._best.step}" if self._best.step else "none"
        return f"not the best for {self._best.since} evaluations ({best})"


def best_of(records: Iterable[Mapping[str, Any]], metric: str, sign: int) -> Best:
    """The best evaluation of a log."""
    best = Best()
    for record in records:
        if metric in record:
            best = following(best, record["step"], sign * record[metric])
    return best


def following(best: Best, step: int, score: float) -> Best:
    """The best after one more evaluation; NaN is never the best."""
    return Best(score, step) if score < best.score else best._replace(since=best.since + 1)


def transformed(config: Config, mesh: jax.sharding.Mesh) -> Callable[[Any], Any]:
    """state → the parameters to evaluate, on the mesh: what the run's transforms make of its weights."""
    found = transforms.transforms_of(config)
    if not found:
        return lambda state: state["params"]
    apply = jax.jit(sharding.on_mesh(mesh, lambda params, kept: transforms.apply(found, params, kept)))
    return lambda state: apply(state["params"], state["transforms"])
