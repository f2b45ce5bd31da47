"""The labelled sets of several tasks, as training reads them: rows of all of them in every batch."""

import dataclasses
import functools
import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from bert_jax.training.labelled import LabelledSet
from data_pipeline.batches.assembly import Batch
from data_pipeline.batches.labelled_rows import LabelledRows
from data_pipeline.tokenizers import Tokenizer


@dataclasses.dataclass(frozen=True)
class LabelledSets:
    """The labelled set of each task, and what training asks of a store."""

    sets: Mapping[str, LabelledSet]  # by the task's name; the first is the main one

    @property
    def main(self) -> LabelledSet:
        """That of the main task."""
        return next(iter(self.sets.values()))

    @property
    def tokenizer(self) -> Tokenizer:
        return self.main.tokenizer

    @property
    def vocab_size(self) -> int:
        return self.main.vocab_size

    @property
    def path(self) -> Path:
        return self.main.path

    @functools.cached_property
    def token_counts(self) -> np.ndarray:
        """int64 [V]: how often each token occurs in the training examples."""
        return np.sum([own.token_counts for own in self.sets.values()], axis=0)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of every training example as it is read."""
        found = "".join(f"{name} {own.fingerprint}\n" for name, own in self.sets.items())
        return hashlib.sha256(found.encode()).hexdigest()

    def rows(self, split: str, seed: int | None) -> "TogetherRows":
        """The rows of a split of every task."""
        return TogetherRows(
            {name: own.rows(split, seed) for name, own in self.sets.items()},
            {name: own.labelled.rows for name, own in self.sets.items()},
        )


class TogetherRows:
    """`pipeline.Examples` of several tasks: a row of the batch holds some rows of each.

    Args:
      rows: of each task, by its name.
      number: how many of them a row of the batch holds.
    """

    def __init__(self, rows: Mapping[str, LabelledRows], number: Mapping[str, int]):
        self._rows, self._number = rows, number
        self.length = next(iter(rows.values())).length
        self.rows = max(-(-own.rows // number[name]) for name, own in rows.items())  # until each is read once

    @functools.cached_property
    def fields(self) -> Collection[str]:
        return self.batch(0, 1).keys()

    def batch(self, first: int, size: int) -> Batch:
        """Rows `first` to `first + size - 1` of the endless stream.

        Returns:
          each field of each task under the task's name, "/" and its own, [size, n, …] with the task's n rows; and
          `segments` int32 [size, …], those of all tasks one after the other.
        """
        found: Batch = {}
        for name, own in self._rows.items():
            number = self._number[name]
            batch = own.batch(first * number, size * number)
            found |= {f"{name}/{field}": x.reshape(size, number, *x.shape[1:]) for field, x in batch.items()}
        segments = [found[f"{name}/segments"].reshape(size, -1) for name in self._rows]
        return found | {"segments": np.concatenate(segments, axis=1)}
