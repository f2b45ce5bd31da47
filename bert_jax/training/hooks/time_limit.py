"""Ends the run with a checkpoint before a job's time limit."""

import time
from pathlib import Path

from bert_jax.config import Config
from bert_jax.runtime.distributed import any_process
from bert_jax.training.hooks import Hook, Update
from configuration.variants import ConfigError


class TimeLimit(Hook):
    """Checks the clock of every process every `every` steps."""

    def __init__(self, hours: float, every: int):
        self.every, self._end = every, time.monotonic() + 3600 * hours

    def __call__(self, update: Update) -> None:
        """Makes the update the last one if the time is over."""
        update.last |= any_process(time.monotonic() >= self._end)


def build(config: Config, workdir: Path, *, hours: float = 1.0, every: int = 10) -> TimeLimit:
    """The hook.

    Args:
      hours: from the start of this process's training; the last checkpoint comes on top.
      every: steps between two looks at the clock.

    Raises:
      ConfigError: an option is out of range.
    """
    del config, workdir
    for name, value in (("hours", hours), ("every", every)):
        if value <= 0:
            raise ConfigError(f"config.hooks: time_limit.{name} is {value!r}; it must be above 0")
    return TimeLimit(hours, every)
