"""Tags of words: precision, recall and F1 of the entities, or chunks, that they mark."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from bert_jax.metrics import check_lengths, need
from data_pipeline.errors import DataError

Scheme = Literal["IOB1", "IOB2", "IOE1", "IOE2", "IOBES", "BILOU"]
Tags = Sequence[Sequence[str]]
MARK = re.compile(r"O|[BIESLU]-.+")  # outside, or a place in an entity of some type


def compute(tags: Tags, predicted: Tags, *, scheme: Scheme = "IOB2") -> dict[str, float]:
    """Scores of entities: one is found where its type, its first and its last word are right.

    Args:
      tags: the right tags, such as "B-PER", "I-PER" and "O", of each word of each sentence.
      predicted: as many.
      scheme: what the tags mean; strict scores leave out what breaks its rules.

    Returns:
      precision, recall and f1 over all entities, as CoNLL's conlleval counts them: an "I-" that follows no entity of
      its type opens one. Where the tags mark chunks, as in CoNLL 2000, f1 is the chunk F1. strict_precision,
      strict_recall and strict_f1: only entities that are well-formed in `scheme` count. span_f1: whatever the types.
      accuracy: of the tags, and this alone where they mark no entities, as parts of speech do. Scores of nothing are 0.

    Raises:
      DataError: no sentence, or other numbers of sentences or words.
    """
    need("seqeval")
    from seqeval import scheme as schemes
    from seqeval.metrics import v1
    from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support

    check_lengths(tags=tags, predicted=predicted)
    for i, (right, guess) in enumerate(zip(tags, predicted, strict=True)):
        if len(right) != len(guess):
            raise DataError(f"sentence {i} has {len(right)} tags and {len(guess)} predicted ones")
    tags, predicted = [list(sentence) for sentence in tags], [list(sentence) for sentence in predicted]
    same = [r == g for right, guess in zip(tags, predicted, strict=True) for r, g in zip(right, guess, strict=True)]
    accuracy = {"accuracy": float(np.mean(same)) if same else 0.0}
    if not mark_entities(tag for sentence in (*tags, *predicted) for tag in sentence):
        return accuracy
    options: dict[str, Any] = {"average": "micro", "zero_division": 0}
    lenient = precision_recall_fscore_support(tags, predicted, **options)
    strict = v1.precision_recall_fscore_support(tags, predicted, scheme=getattr(schemes, scheme), **options)
    spans, guessed = ({entity[1:] for entity in get_entities(t)} for t in (tags, predicted))
    return {
        "precision": float(lenient[0]),
        "recall": float(lenient[1]),
        "f1": float(lenient[2]),
        "strict_precision": float(strict[0]),
        "strict_recall": float(strict[1]),
        "strict_f1": float(strict[2]),
        "span_f1": 2 * len(spans & guessed) / max(1, len(spans) + len(guessed)),
        **accuracy,
    }


def mark_entities(tags: Iterable[str]) -> bool:
    """Whether these tags mark where entities are."""
    return all(MARK.fullmatch(tag) for tag in set(tags))
