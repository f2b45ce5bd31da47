"""The most frequent label; the probabilities are the shares of the labels in the training records."""

from collections.abc import Sequence

import numpy as np

from bert_jax.baselines import Baseline, Reader, one_example_each
from bert_jax.tasks import Outputs
from data_pipeline.batches.labelled_rows import Encoded
from data_pipeline.labelled import Record, column


def build() -> Baseline:
    """The baseline."""
    return Baseline(("classification",), predict)


def predict(reader: Reader, train: Sequence[Record], records: Sequence[Record]) -> tuple[Outputs, Encoded]:
    """probabilities [n, C]"""
    found = [str(column(record, reader.label)) for record in train]
    shares = np.array([found.count(name) for name in reader.labels]) / len(found)
    return {"probabilities": np.tile(shares, (len(records), 1))}, one_example_each([1] * len(records))
