"""Of several candidates the one that shares most with its text and question, by the cosine of their TF-IDF vectors."""

from collections.abc import Sequence

import numpy as np

from bert_jax.baselines import Baseline, Reader, one_example_each
from bert_jax.baselines.tfidf import fitted
from bert_jax.tasks import Outputs
from bert_jax.tasks.multiple_choice import candidates
from data_pipeline.batches.labelled_rows import Encoded
from data_pipeline.labelled import Record, check_text


def build() -> Baseline:
    """The baseline."""
    return Baseline(("multiple_choice",), predict)


def predict(reader: Reader, train: Sequence[Record], records: Sequence[Record]) -> tuple[Outputs, Encoded]:
    """probabilities [n, C]: each candidate's share of its record's cosines; all the same where none has any"""
    choices = reader.options.get("choices", "choices")
    columns = [name for name in reader.text if name not in ([choices] if isinstance(choices, str) else choices)]
    given = lambda record: " ".join(check_text(record, name) for name in columns)
    vectorizer = fitted([text for record in train for text in (given(record), *candidates(record, choices))])
    own = [candidates(record, choices) for record in records]
    counts = [len(each) for each in own]
    texts = vectorizer.transform([given(record) for record in records])[np.repeat(np.arange(len(own)), counts)]
    cosines = np.asarray(vectorizer.transform(np.concatenate(own)).multiply(texts).sum(axis=1))[:, 0]
    there = np.arange(max(counts)) < np.array(counts)[:, None]
    shares = np.zeros(there.shape)
    shares[there] = cosines + np.finfo(np.float32).eps
    return {"probabilities": shares / shares.sum(axis=1, keepdims=True)}, one_example_each([1] * len(records))
