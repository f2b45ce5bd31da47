"""The hook that writes checkpoints."""

from collections.abc import Callable

import jax
import numpy as np

from bert_jax.checkpoints.manager import Checkpointer
from bert_jax.config import Config
from bert_jax.training.hooks import Hook, Update


class Checkpointing(Hook):
    """Writes a checkpoint every `checkpoints.every_steps`, after each new best evaluation and after the last update."""

    def __init__(self, config: Config, fingerprint: str, checkpoints: Checkpointer, flush: Callable[[], None]):
        """`fingerprint`: of the store. `flush` writes the log: no checkpoint knows of a step that the log lacks."""
        self._config, self._fingerprint, self._checkpoints, self._flush = config, fingerprint, checkpoints, flush
        self._losses: list[jax.Array] = []  # since the last checkpoint

    def __call__(self, update: Update) -> None:
        """Writes the state, if it is time."""
        self._losses.append(update.metrics["loss"])
        if update.step % self._config.checkpoints.every_steps and not (update.best or update.last):
            return
        self._flush()
        loss, self._losses = mean_of_finite(self._losses), []
        self._checkpoints.save(update.step, update.state, self._config, self._fingerprint, loss, update.score)

    def go_back(self, step: int) -> None:
        """Forgets the losses since the last checkpoint."""
        self._losses = []


def mean_of_finite(losses: list[jax.Array]) -> float | None:
    """The mean loss of the steps whose loss was finite (the guard skips others), if there were any."""
    values = np.array(jax.device_get(losses))
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else None
