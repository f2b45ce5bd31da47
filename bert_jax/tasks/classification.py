"""Classes of texts, or of pairs of texts (Devlin et al. 2018, section 4.1): BertForSequenceClassification.

A linear layer over the pooled vector, with dropout before it; the loss is the mean cross-entropy of the examples. A
pair is read at once, or each text by itself (`pooling="compared"`).
"""

import collections
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import Model
from bert_jax.metrics import classification
from bert_jax.modeling import heads
from bert_jax.modeling.heads import sequence_head
from bert_jax.modeling.layers import dropout, split_key
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, normalized
from bert_jax.objectives._cross_entropy import cross_entropy
from bert_jax.tasks import Outputs, Task, _texts
from bert_jax.tasks._pooling import COMPARED, NEEDS, VECTORS, PairPooling, check_compared, pooled, pooling_heads
from configuration.variants import require, use
from data_pipeline.batches.labelled_rows import Encoded
from data_pipeline.errors import DataError
from data_pipeline.labelled import Record, column
from data_pipeline.tokenizers import Tokenizer


def parts(model: Model, *, labels: Sequence[str] = (), pooling: PairPooling = "cls") -> Parts:
    """The head, and what the pooling trains."""
    head = use("sequence_head", outputs=max(2, len(labels)), vectors=VECTORS.get(pooling, 1))
    return heads.parts(model, *pooling_heads(model, pooling), head)


def build(
    model: Model,
    vocabulary: Vocabulary,
    *,
    labels: Sequence[str] = (),
    pooling: PairPooling = "cls",
    class_weights: Sequence[float] = (),
    dropout_samples: int = 1,
) -> Objective:
    """The objective.

    Args:
      labels: their names.
      pooling: which vector stands for a text (bert_jax/tasks/_pooling.py).
      class_weights: of the loss of each label's examples; empty for one each.
      dropout_samples: dropout masks before the head whose losses are averaged (Inoue 2019, arXiv 1905.09788).
    """
    del vocabulary
    weights = class_weights or [1.0] * max(2, len(labels))
    require(len(weights) == max(2, len(labels)), "task.class_weights", class_weights, f"one for each of {list(labels)}")
    require(dropout_samples >= 1, "task.dropout_samples", dropout_samples, "at least 1")

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        del key
        of_class = jnp.asarray(weights, jnp.float32)[batch["labels"]]
        return batch | {"weights": normalized(batch["weights"] * of_class)}

    def loss(params: Any, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        del constants
        encoder_key, head_key = split_key(key, 2)
        vectors = pooled(model, params, batch, pooling, encoder_key)
        keys = [None] if head_key is None else list(jax.random.split(head_key, dropout_samples))
        found = [
            cross_entropy(
                sequence_head.logits(model, params, dropout(vectors, model.dropout, one)),
                batch["labels"],
                batch["weights"],
            )
            for one in keys
        ]
        losses, accuracies = (jnp.stack(values).mean() for values in zip(*found, strict=True))
        return losses, {"accuracy": accuracies}

    return Objective(corrupt, loss, ("places", "labels", "weights", *NEEDS.get(pooling, ())))


def task(
    *,
    text: str = "text",
    second: str = "",
    label: str = "label",
    labels: Sequence[str] = (),
    metric: str = "accuracy",
    groups: str = "",
    pooling: PairPooling = "cls",
    truncation: _texts.Truncation = "head",
    stride: int = 64,
) -> Task:
    """The task.

    Args:
      text, second: columns of the text, or of the two texts of a pair.
      label: column of the label.
      labels: their names, in the order of the classes; found in the training examples where none are given.
      metric: the primary metric, of those in bert_jax/metrics/classification.py.
      groups: column by whose values the accuracy is also given, each by itself; examples where it is empty are in none.
      truncation: what is kept of a text that is too long: its head, its tail, a quarter of the head and the rest of the
        tail (head_tail), or windows, whose probabilities are averaged.
      stride: tokens from a window to the next.
    """
    check_compared(pooling, second, truncation)
    columns = (text, second) if second else (text,)

    def encode(records: Sequence[Record], tokenizer: Tokenizer, length: int, labelled: bool) -> Encoded:
        encoded = _texts.encode(records, tokenizer, length, columns, truncation, stride, pooling == COMPARED)
        if not labelled:
            return encoded._replace(per_example={"labels": np.zeros(len(encoded.records), np.int32)})
        numbers = label_numbers(records, label, labels)
        return encoded._replace(per_example={"labels": numbers[encoded.records]})

    def outputs(model: Model, params: Any, batch: Batch) -> dict[str, jax.Array]:
        vectors = pooled(model, params, batch, pooling, None)
        return {"probabilities": jax.nn.softmax(sequence_head.logits(model, params, vectors))}

    def probabilities(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> np.ndarray:
        return _texts.mean_over_windows(outputs["probabilities"].astype(np.float64), encoded, len(records))

    def scores(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> dict[str, float]:
        found, right = probabilities(outputs, encoded, records), label_numbers(records, label, labels)
        return classification.compute(right, found) | accuracies_by(groups, records, found.argmax(-1) == right)

    def answers(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> list[dict[str, Any]]:
        return [
            {"label": labels[int(row.argmax())], "probabilities": dict(zip(labels, row.round(6).tolist(), strict=True))}
            for row in probabilities(outputs, encoded, records)
        ]

    def each(answers: Sequence[Mapping[str, Any]], records: Sequence[Record]) -> np.ndarray:
        pairs = zip(answers, records, strict=True)
        return np.array([float(answer["label"] == str(column(record, label))) for answer, record in pairs])

    return Task(
        columns,
        functools.partial(find_labels, label=label, given=labels),
        encode,
        outputs,
        "example",
        scores,
        metric,
        answers,
        each,
        "accuracy",
    )


def accuracies_by(groups: str, records: Sequence[Record], right: np.ndarray) -> dict[str, float]:
    """The share of `right`, bool [n], in each group of records; `groups` is the column that names them, if any."""
    if not groups:
        return {}
    of_group: dict[str, list[bool]] = collections.defaultdict(list)
    for record, is_right in zip(records, right, strict=True):
        if name := str(column(record, groups)):
            of_group[name].append(bool(is_right))
    return {f"accuracy_{name}": float(np.mean(own)) for name, own in of_group.items()}


def find_labels(records: Sequence[Record], label: str, given: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of the labels, as numbers sort if they are numbers, else as text does.

    Raises:
      DataError: one label alone.
    """
    if given:
        return tuple(given)
    counts = collections.Counter(str(column(record, label)) for record in records)
    if len(counts) < 2:
        raise DataError(f"all {len(records)} training records have the label {next(iter(counts))!r}; give two or more")
    numeric = all(name.lstrip("-").isdigit() for name in counts)
    return tuple(sorted(counts, key=int if numeric else str))


def label_numbers(records: Sequence[Record], label: str, labels: Sequence[str]) -> np.ndarray:
    """int32 [n]: which of `labels` each record has.

    Raises:
      DataError: one that is none of them; the message says where.
    """
    number = {name: i for i, name in enumerate(labels)}
    found = np.empty(len(records), np.int32)
    for i, record in enumerate(records):
        name = str(column(record, label))
        if name not in number:
            raise DataError(f"{record.where}: the label {name!r} is none of the training labels {', '.join(labels)}")
        found[i] = number[name]
    return found
