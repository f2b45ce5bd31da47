"""A tag for each word, such as entities, chunks or parts of speech: BertForTokenClassification.

The first piece of a word carries its tag (Devlin et al. 2018, section 5.3); the loss is the mean cross-entropy of the
words. Sentences that are longer than a row are cut between words, and every word is read.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from bert_jax.config import Model
from bert_jax.metrics import tagging
from bert_jax.modeling import heads
from bert_jax.modeling.bert import encode as run_encoder
from bert_jax.modeling.heads import token_head
from bert_jax.modeling.layers import dropout, split_key
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary
from bert_jax.objectives._cross_entropy import cross_entropy
from bert_jax.tasks import Outputs, Task, shared_out
from bert_jax.tasks._texts import flat
from configuration.variants import ConfigError, use
from data_pipeline.alignment import encode_words
from data_pipeline.batches.labelled_rows import Encoded
from data_pipeline.errors import DataError
from data_pipeline.labelled import Record, column
from data_pipeline.tokenizers import Tokenizer

OUTSIDE = "O"  # the tag of a word that no piece stands for


def parts(model: Model, *, labels: Sequence[str] = ()) -> Parts:
    """The head."""
    return heads.parts(model, use("token_head", outputs=max(2, len(labels))))


def build(model: Model, vocabulary: Vocabulary, *, labels: Sequence[str] = ()) -> Objective:
    """The objective."""
    del vocabulary, labels

    def loss(params: Any, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        del constants
        encoder_key, head_key = split_key(key, 2)
        hidden = dropout(run_encoder(model, params, batch, encoder_key), model.dropout, head_key)
        logits = token_head.logits(model, params, hidden)
        value, accuracy = cross_entropy(logits, batch["tags"], batch["tag_weights"])
        return value, {"accuracy": accuracy}

    return Objective(shared_out("tag_weights"), loss, ("tags", "tag_weights"))


def task(
    *,
    words: str = "words",
    tags: str = "tags",
    labels: Sequence[str] = (),
    metric: str = "f1",
    scheme: tagging.Scheme = "IOB2",
    joiner: str = " ",
) -> Task:
    """The task.

    Args:
      words, tags: columns, lists of equal lengths.
      labels: the tags, in the order of the classes; found in the training examples where none are given.
      metric: the primary metric, of those in bert_jax/metrics/tagging.py.
      scheme: how tags mark entities; "accuracy" is the metric for tags that mark none.
      joiner: what stands between words: "" for Chinese.
    """

    def encode(records: Sequence[Record], tokenizer: Tokenizer, length: int, labelled: bool) -> Encoded:
        number = {name: i for i, name in enumerate(labels)}
        rows: list[list[int]] = []
        owners: list[int] = []
        tagged: list[int] = []
        weights: list[float] = []
        words_of: list[int] = []
        for r, record in enumerate(records):
            for ids, word in cut(*encode_words(tokenizer, words_in(record, words), joiner), length - 2):
                first = np.diff(word, prepend=-1) > 0
                names = tags_in(record, tags, words) if labelled else []
                rows.append([tokenizer.cls_id, *ids, tokenizer.sep_id])
                owners.append(r)
                tagged += [0, *(number_of(names[w], number, record) if labelled else 0 for w in word.tolist()), 0]
                weights += [0.0, *first.astype(float).tolist(), 0.0]
                words_of += [-1, *np.where(first, word, -1).tolist(), -1]
        encoded = flat(rows, [[0] * len(row) for row in rows], owners)
        per_token = {"tags": np.array(tagged, np.int32), "tag_weights": np.array(weights, np.float32)}
        return encoded._replace(per_token=per_token, aside={"words": np.array(words_of)})

    def outputs(model: Model, params: Any, batch: Batch) -> dict[str, jax.Array]:
        return {"tag": token_head.logits(model, params, run_encoder(model, params, batch)).argmax(-1)}

    def predicted(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> list[list[str]]:
        found = [[OUTSIDE if OUTSIDE in labels else labels[0]] * len(words_in(record, words)) for record in records]
        owners = np.repeat(encoded.records, encoded.lengths)
        for place in np.flatnonzero(encoded.aside["words"] >= 0).tolist():
            found[owners[place]][encoded.aside["words"][place]] = labels[int(outputs["tag"][place])]
        return found

    def scores(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> dict[str, float]:
        wanted = [tags_in(record, tags, words) for record in records]
        return tagging.compute(wanted, predicted(outputs, encoded, records), scheme=scheme)

    def answers(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> list[dict[str, Any]]:
        return [{"tags": found} for found in predicted(outputs, encoded, records)]

    def each(answers: Sequence[Mapping[str, Any]], records: Sequence[Record]) -> np.ndarray:
        pairs = [
            (answer["tags"], tags_in(record, tags, words)) for answer, record in zip(answers, records, strict=True)
        ]
        return np.array([np.mean([a == b for a, b in zip(*pair, strict=True)]) for pair in pairs])

    find = functools.partial(find_labels, tags=tags, given=labels, metric=metric)
    score = "share of right tags"
    return Task((words,), find, encode, outputs, "token", scores, metric, answers, each, score)


def cut(ids: Sequence[int], word: np.ndarray, room: int) -> list[tuple[list[int], np.ndarray]]:
    """A sentence's pieces and their words, in parts of at most `room` pieces, cut where a word begins if one does."""
    found, first, starts = [], 0, np.flatnonzero(np.diff(word, prepend=-1) > 0)
    while len(ids) - first > room:
        inside = starts[(starts > first) & (starts <= first + room)]
        last = int(inside[-1]) if len(inside) else first + room
        found.append((list(ids[first:last]), word[first:last]))
        first = last
    return [*found, (list(ids[first:]), word[first:])]


def words_in(record: Record, name: str) -> list[str]:
    """A record's words; a text is split at white space.

    Raises:
      DataError: there is none.
    """
    value = column(record, name)
    found = value.split() if isinstance(value, str) else list(value)
    if not found:
        raise DataError(f"{record.where}: {name} has no word; leave the example out")
    return found


def tags_in(record: Record, name: str, words: str) -> list[str]:
    """A record's tags.

    Raises:
      DataError: there are not as many as words.
    """
    value = column(record, name)
    found = value.split() if isinstance(value, str) else list(value)
    if len(found) != len(words_in(record, words)):
        raise DataError(f"{record.where}: {len(found)} {name} for {len(words_in(record, words))} {words}")
    return found


def find_labels(
    records: Sequence[Record], tags: str, given: Sequence[str] = (), metric: str = "accuracy"
) -> tuple[str, ...]:
    """The tags, sorted.

    Raises:
      ConfigError: they mark no entities, and the metric is one of entities.
    """
    found = tuple(given) or tuple(sorted({tag for record in records for tag in column(record, tags)}))
    if metric != "accuracy" and not tagging.mark_entities(found):
        plain = next(tag for tag in found if not tagging.mark_entities([tag]))
        raise ConfigError(
            f"config.task.metric is {metric!r}, but tags such as {plain!r} mark no entities: set it to accuracy"
        )
    return found


def number_of(tag: str, number: dict[str, int], record: Record) -> int:
    """The class of a tag.

    Raises:
      DataError: it is none of the training tags; the message says where.
    """
    if tag not in number:
        raise DataError(f"{record.where}: the tag {tag!r} is none of the training tags {', '.join(number)}")
    return number[tag]
