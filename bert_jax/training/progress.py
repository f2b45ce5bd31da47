"""The hook that logs: metrics of the steps, statistics of the layers."""

import time
from pathlib import Path
from typing import Any

import jax

from bert_jax.config import Config
from bert_jax.reporting.layers_log import LayersLog
from bert_jax.reporting.metrics import MetricsLog, read_metrics
from bert_jax.training.hooks import Hook, Update
from configuration.flags import to_dict

APART = ("tokens", "statistics")  # metrics that are not logged as numbers


class Progress(Hook):
    """Logs every `log_every` steps, one logged step late, so that reading never makes the devices wait.

    The time of a line is when the step before it was done, however far the loop runs ahead of the devices.
    """

    def __init__(self, config: Config, workdir: Path, step: int):
        self._every, self._eval_every, self._steps = config.log_every, config.eval_every, config.steps
        self._config, self._workdir = config, workdir
        self._open(step)

    def _open(self, step: int) -> None:
        self.log = MetricsLog(
            self._workdir,
            step,
            self._steps,
            loggers=self._config.loggers,
            about=to_dict(self._config),
            enabled=jax.process_index() == 0,
        )
        self._waiting: tuple[Update, list[jax.Array], float] | None = None
        self._tokens: list[jax.Array] = []
        self._before: jax.Array | None = None  # the loss of the step before
        self._layers = LayersLog(self._workdir, step, enabled=jax.process_index() == 0)
        file = self._workdir / "metrics.jsonl"
        logged = read_metrics(file) if step and file.exists() else []
        self._noted_step, self._noted_time = step, time.perf_counter()
        self._seconds = logged[-1]["train_seconds"] if logged else 0.0
        self._first = step + 1
        self.last: dict[str, Any] = logged[-1] if logged else {}

    def go_back(self, step: int) -> None:
        """Forgets what was logged after `step`: the loop repeats those steps."""
        self.log.close()
        self._open(step)

    def __enter__(self) -> "Progress":
        self.log.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self.flush()
        self.log.__exit__(*error)

    def __call__(self, update: Update) -> None:
        """Notes one update's metrics, still on the device."""
        step, metrics = update.step, update.metrics
        self._tokens.append(metrics["tokens"])
        if "statistics" in metrics:
            self._layers(step, metrics["statistics"])
        if step % self._every == 0 or step in (self._first, self._steps) or self._evaluated(step):
            self._read()
            jax.block_until_ready(self._before)
            self._waiting = update, self._tokens, time.perf_counter()
            self._tokens = []
            if step == self._first and not self._evaluated(step):
                self._read()
        self._before = metrics["loss"]

    def _evaluated(self, step: int) -> bool:
        """Whether the hook after this one evaluates the step, and its figures are still to come."""
        return self._eval_every > 0 and (step % self._eval_every == 0 or step == self._steps)

    def flush(self) -> None:
        """Logs what was noted and waits, after the devices have done it."""
        self._read()
        self._layers.write()

    def _read(self) -> None:
        if self._waiting is None:
            return
        (update, tokens, now), self._waiting = self._waiting, None
        step, logged = update.step, {name: x for name, x in update.metrics.items() if name not in APART}
        values = {name: float(value) for name, value in jax.device_get(logged).items()} | update.figures
        elapsed, self._noted_time = now - self._noted_time, now + update.aside
        self._seconds += elapsed
        values["train_seconds"] = self._seconds
        if step != self._first:  # the first one holds the compilation
            values["step_seconds"] = elapsed / (step - self._noted_step)
            values["tokens_per_second"] = float(sum(jax.device_get(tokens))) / elapsed
        self._noted_step = step
        self.log(step, values)
        self.last = values
