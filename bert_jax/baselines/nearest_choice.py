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
    question = reader.options.get("question", "")
    names = [reader.options.get("text", "text"), *([question] if question else [])]
    choices = reader.options.get("choices", "choices")
    given = lambda record: " ".join(check_text(record, name) for name in names)
    vectorizer = fitted([text for each in train for text in (given(each), *candidates(each, choices))])
    found = []
    for record in records:
        own = candidates(record, choices)
        cosines = vectorizer.transform(own) @ vectorizer.transform([given(record)]).T
        shares = cosines.toarray()[:, 0] + np.finfo(np.float32).eps
        found.append(shares / shares.sum())
    probabilities = np.zeros((len(found), max(map(len, found), default=0)))
    for row, shares in zip(probabilities, found, strict=True):
        row[: len(shares)] = shares
    return {"probabilities": probabilities}, one_example_each([1] * len(records))
