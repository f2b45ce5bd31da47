"""The most frequent tag of each word; of a word that is in no training record, the most frequent tag of all."""

import collections
from collections.abc import Sequence

import numpy as np

from bert_jax.baselines import Baseline, Reader, one_example_each
from bert_jax.tasks import Outputs
from bert_jax.tasks.tagging import tags_in, words_in
from data_pipeline.batches.labelled_rows import Encoded
from data_pipeline.labelled import Record


def build() -> Baseline:
    """The baseline."""
    return Baseline(("tagging",), predict)


def predict(reader: Reader, train: Sequence[Record], records: Sequence[Record]) -> tuple[Outputs, Encoded]:
    """tag [T], a word each"""
    (words,) = reader.text
    of_word: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    of_all: collections.Counter[str] = collections.Counter()
    for record in train:
        tags = tags_in(record, reader.label, words)
        of_all.update(tags)
        for word, tag in zip(words_in(record, words), tags, strict=True):
            of_word[word][tag] += 1
    number = {name: i for i, name in enumerate(reader.labels)}
    most = lambda counts: min(counts, key=lambda tag: (-counts[tag], tag))
    usual, known = number[most(of_all)], {word: number[most(counts)] for word, counts in of_word.items()}
    sentences = [words_in(record, words) for record in records]
    found = np.array([known.get(word, usual) for sentence in sentences for word in sentence])
    return {"tag": found}, one_example_each([len(sentence) for sentence in sentences])
