"""Batch sizes that grow during training: which examples of the stream each step takes.

The examples of a run are one endless stream (data_pipeline/batches/pipeline.py). Whatever the batch sizes are,
a step takes the examples that follow those of the step before: none is repeated or skipped. So where a
step begins in the stream is the sum of the batch sizes before it, a pure function of the step.
"""

import dataclasses
import itertools
from typing import NamedTuple

from data_pipeline.errors import DataError


class Stage(NamedTuple):
    """Steps of one batch size: from `first_step`, until the next stage begins."""

    first_step: int
    first_example: int  # of the stream, that the first step begins with
    batch_size: int  # B


@dataclasses.dataclass(frozen=True)
class BatchSizes:
    """The batch size of every step. The last stage never ends.

    Raises:
      DataError: no stage, or stages that do not follow each other.
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not self.stages or self.stages[0][:2] != (0, 0) or min(stage.batch_size for stage in self.stages) < 1:
            raise DataError(f"batch sizes {self.stages} must begin at step 0 and example 0, with at least 1 row each")
        for one, following in itertools.pairwise(self.stages):
            steps = following.first_step - one.first_step
            if steps < 1 or following.first_example != one.first_example + steps * one.batch_size:
                raise DataError(f"batch sizes: {following} does not follow {one} in the stream of examples")

    def stage_at(self, step: int) -> Stage:
        """The stage that step number `step` is in."""
        return next(stage for stage in reversed(self.stages) if stage.first_step <= step)

    def at(self, step: int) -> tuple[int, int]:
        """(first_example, batch_size) of step number `step`: it takes that many examples from there."""
        stage = self.stage_at(step)
        return stage.first_example + (step - stage.first_step) * stage.batch_size, stage.batch_size


def constant(batch_size: int) -> BatchSizes:
    """The same size in every step."""
    return BatchSizes((Stage(0, 0, batch_size),))


def warm_up(first: int, last: int, increment: int, examples: int) -> BatchSizes:
    """From `first` to `last` rows, `increment` more at a time, each size for the same share of the examples.

    The growth over examples seen is that of GPT-3 (Brown et al. 2020, appendix B), in as many stages as there
    are sizes, each of which is compiled once.

    Args:
      examples: taken before the size is `last`, to the nearest whole step of each stage; for a warm-up of so
        many tokens, tokens // length.

    Raises:
      DataError: sizes that do not lead from `first` to `last`.
    """
    if not 1 <= first <= last or increment < 1 or (last - first) % increment:
        raise DataError(
            f"a batch size cannot grow from {first} to {last} by {increment} rows at a time; "
            "make the difference a multiple of the increment"
        )
    growing = range(first, last, increment)
    stages = [Stage(0, 0, first)]
    for size in growing:
        steps = max(1, round(examples / len(growing) / size))
        begins = stages[-1]
        stages.append(Stage(begins.first_step + steps, begins.first_example + steps * size, size + increment))
    return BatchSizes(tuple(stages))
