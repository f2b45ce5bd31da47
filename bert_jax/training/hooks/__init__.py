"""Hooks: what happens between the updates of a run, one a file.

`build(config, workdir, *, every=…, …) -> Hook`. `config.hooks` adds to a run's own: the log, the
watch over losses, the held-out evaluation and the checkpoints, which the loop calls in the same way.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bert_jax.config import Config
from configuration.variants import load


@dataclasses.dataclass
class Update:
    """One update of the optimizer, as hooks see it and add to it."""

    step: int
    state: dict[str, Any]  # the train state after it
    metrics: dict[str, Any]  # on the device: reading one makes the loop wait
    last: bool  # the run ends after it; a hook may set it
    figures: dict[str, float] = dataclasses.field(default_factory=dict)  # of an evaluation after it, to be logged
    aside: float = 0.0  # seconds that the evaluation took, which are not training's
    score: float | None = None  # of the evaluation; the lower, the better
    best: bool = False  # whether no earlier evaluation had a lower one


class Hook:
    """Called after every update whose step `every` divides, and after the last; in the same order on every process.

    A hook reads device values only when it has to, since that makes the loop wait. It must not change the state.
    """

    every = 1

    def __call__(self, update: Update) -> None:
        """What is done after an update."""
        raise NotImplementedError

    def go_back(self, step: int) -> None:
        """Forgets the steps after `step`, which the run repeats."""


def own_hooks(config: Config, workdir: Path) -> list[Hook]:
    """The hooks that the configuration names.

    Raises:
      ConfigError: there is no such file, or an option is wrong.
    """
    return [load("bert_jax.training.hooks", variant)(config, workdir) for variant in config.hooks]


def call(hooks: Sequence[Hook], update: Update) -> None:
    """Calls the hooks that are due, in order."""
    for hook in hooks:
        if update.last or update.step % hook.every == 0:
            hook(update)
