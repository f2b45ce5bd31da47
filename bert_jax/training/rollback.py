"""Roll-backs: what the training loop does when updates fail, and what the state keeps of it.

After `guard.roll_back_after` updates skipped in a row the run goes back to the newest regular checkpoint before them
and leaves out the rows read since (Chowdhery et al. 2022, arXiv 2204.02311, section 5.1). How many rows it leaves out
is part of the train state. An interrupted run therefore resumes exactly: from a checkpoint before the roll-back it
makes the same updates and goes back too, from one after it the rows are left out.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from bert_jax.checkpoints.manager import Checkpointer
from bert_jax.config import Checkpoints, Config, Guard
from bert_jax.training.hooks import Hook, Update
from bert_jax.training.start import Start
from bert_jax.training.state import State, batch_sizes_of

LAG, TOGETHER = 2, 10  # steps that reading is behind the devices, and that are read at once


class TrainingError(ValueError):
    """A run that cannot continue. The message names the step, what is wrong and the remedy."""


class GoBack(Exception):
    """The run must go back before the updates that were skipped up to and with `failed`."""

    def __init__(self, failed: int):
        super().__init__(failed)
        self.failed = failed


class Watch(Hook):
    """Looks at the loss, the gradient norm and the guard of every update, late enough that no device waits.

    A step must be looked at before its checkpoint is written: then none holds a step that came too late.
    """

    def __init__(self, guard: Guard, at: Sequence[int]):
        """`at`: at multiples of this step, and at the last one, all updates so far are checked; 0 for never."""
        self._guard, self._at = guard, [every for every in at if every]
        self._waiting: list[tuple[int, dict[str, jax.Array]]] = []

    def go_back(self, step: int) -> None:
        """Forgets the updates that wait to be looked at."""
        self._waiting = []

    def __call__(self, update: Update) -> None:
        """Looks at the updates that the devices have done.

        Raises:
          GoBack: too many updates in a row were skipped.
          TrainingError: without a guard, a loss or a gradient is not finite.
        """
        wanted = ("skipped_in_a_row",) if self._guard.on else ("loss", "gradient_norm")
        self._waiting.append((update.step, {name: update.metrics[name] for name in wanted}))
        now = update.last or any(update.step % every == 0 for every in self._at)
        if not now and len(self._waiting) < TOGETHER + LAG:
            return
        behind = 0 if now else LAG
        ready = jax.device_get(self._waiting[: len(self._waiting) - behind])
        self._waiting = self._waiting[len(self._waiting) - behind :]
        for number, values in ready:
            if self._guard.on:
                if 0 < self._guard.roll_back_after <= values["skipped_in_a_row"]:
                    raise GoBack(number)
            elif not all(map(np.isfinite, values.values())):
                what = " and ".join(f"the {name.replace('_', ' ')} is {values[name]}" for name in wanted)
                raise TrainingError(
                    f"step {number}: {what}; checkpoints of earlier steps are kept. Train into another --workdir with "
                    "a lower config.phases.*.learning_rate, or skip such updates: --config.guard.on=true"
                )


def regular_checkpoints(config: Config) -> int:
    """How many of the newest checkpoints of every `checkpoints.every_steps` going back may need."""
    return (
        1 + math.ceil(config.guard.roll_back_after / config.checkpoints.every_steps) if config.guard.rolls_back else 0
    )


def go_back(
    state: State,
    failed: int,
    config: Config,
    checkpoints: Checkpointer,
    begin: Callable[[], Start],
    say: Callable[[str], None],
) -> tuple[State, int]:
    """State and step of the newest regular checkpoint before the updates that were skipped up to and with `failed`.

    Args:
      state: the present one, for what it remembers of earlier roll-backs.
      begin: the newest checkpoint, or a fresh state where there is none.

    Raises:
      TrainingError: the run has gone back as often as it may.
    """
    guard, first = config.guard, failed - config.guard.roll_back_after + 1
    done, skipped = jax.device_get((state["roll_backs"]["done"], state["roll_backs"]["skipped_rows"]))
    in_a_row = f"steps {first} to {failed}: {guard.roll_back_after} updates in a row were skipped by the guard"
    if done >= guard.most_roll_backs:
        raise TrainingError(
            f"{in_a_row}, and the run has gone back {done} times already (config.guard.most_roll_backs); the newest "
            "checkpoint is whole. Train into another --workdir with a lower learning_rate, or check the text"
        )
    checkpoints.forget_after(newest_regular(first - 1, config.checkpoints))
    before, step, _ = begin()
    window = rows_between(config, step, failed)
    say(
        f"{in_a_row}; going back to step {step} and leaving out the {sum(window)} rows read since "
        f"(roll-back {done + 1} of at most {guard.most_roll_backs})"
    )
    new = {"done": np.int32(done + 1), "skipped_rows": (skipped + np.asarray(window)).astype(np.int32)}
    return before | {"roll_backs": jax.tree.map(laid_out_as, new, before["roll_backs"])}, step


def newest_regular(step: int, settings: Checkpoints) -> int:
    """The last step up to `step` whose checkpoint every run writes, however it was interrupted; 0 for the start."""
    return step // settings.every_steps * settings.every_steps


def rows_between(config: Config, start: int, stop: int) -> list[int]:
    """Rows of each phase's text that the steps from `start` to `stop` − 1, counted over all phases, take."""
    rows, begins = [], 0
    for phase in config.phases:
        sizes = batch_sizes_of(phase)
        first, last = (sizes.at(min(max(step - begins, 0), phase.steps))[0] for step in (start, stop))
        rows.append(last - first)
        begins += phase.steps
    return rows


def skipped_rows(state: State, phase: int) -> int:
    """Rows of the phase's text that roll-backs leave out."""
    return int(jax.device_get(state["roll_backs"]["skipped_rows"])[phase]) if "roll_backs" in state else 0


def laid_out_as(value: Any, like: jax.Array) -> jax.Array:
    """The same number on every device of `like`."""
    array = np.asarray(value)
    return jax.make_array_from_callback(array.shape, like.sharding, lambda index: array[index])
