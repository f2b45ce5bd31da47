"""Labelled examples as training reads them, in place of a store's text."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bert_jax.config import Config
from bert_jax.config.labelled import Labelled
from bert_jax.tasks import Task, load_task
from configuration.foreign import FormatError
from data_pipeline import checkpoint_tokenizer
from data_pipeline.batches.labelled_rows import Encoded, LabelledRows
from data_pipeline.labelled import Record, open_records
from data_pipeline.tokenizers import Tokenizer


@dataclasses.dataclass(frozen=True)
class LabelledSet:
    """The records of each split, and what training asks of a store."""

    labelled: Labelled
    length: int  # L
    seed: int
    tokenizer: Tokenizer
    records: Mapping[str, Sequence[Record]]  # by split: train, dev, and test if there is one
    path: Path  # of the work folder, for messages

    @functools.cached_property
    def task(self) -> Task:
        return load_task(self.labelled.task)

    @property
    def sets(self) -> Mapping[str, "LabelledSet"]:
        """This one alone, as `LabelledSets` has several."""
        return {self.labelled.name: self}

    @property
    def main(self) -> "LabelledSet":
        """This one."""
        return self

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.vocab_size

    @functools.cached_property
    def token_counts(self) -> np.ndarray:
        """int64 [V]: how often each token occurs in the training examples."""
        return np.bincount(self.encoded("train").tokens, minlength=self.vocab_size)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of every training example as it is read."""
        encoded, digest = self.encoded("train"), hashlib.sha256()
        for array in (encoded.tokens, encoded.offsets, *encoded.per_example.values(), *encoded.per_token.values()):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @functools.cached_property
    def _kept(self) -> dict[str, Encoded]:
        return {}

    def encoded(self, split: str) -> Encoded:
        """The examples of a split."""
        if split not in self._kept:
            self._kept[split] = self.task.encoder_of(split)(self.records[split], self.tokenizer, self.length, True)
        return self._kept[split]

    def rows(self, split: str, seed: int | None) -> LabelledRows:
        """The rows of a split; in the order of the examples without a seed."""
        encoded, packed = self.encoded(split), self.labelled.packed
        return LabelledRows(encoded, self.length, self.tokenizer.pad_id, seed=seed, packed=packed)


def open_set(config: Config, labelled: Labelled, workdir: Path) -> LabelledSet:
    """A labelled set of a run, whose tokenizer is in the work folder.

    Raises:
      ConfigError, DataError: something that the configuration names is missing or does not fit.
    """
    tokenizer = checkpoint_tokenizer.read(workdir)
    if tokenizer is None:
        raise FormatError(f"{workdir} has no tokenizer/, which `bert_jax.finetune` writes; run that command")
    task = load_task(labelled.task)
    records = open_records(labelled.source, dev_share=labelled.dev_share, seed=0, text=task.text)
    return LabelledSet(labelled, config.phases[-1].length, config.seed, tokenizer, records, workdir)
