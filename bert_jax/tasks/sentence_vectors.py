"""Sentence vectors: texts with the same meaning get near vectors, others distant ones.

An example has T texts: a text twice (unsupervised SimCSE), a pair, or an anchor with a positive and hard negatives.
Each text is a document of its own, and those of an example share a row. The loss, a file of bert_jax/embedding/losses,
sees the vectors of the whole batch: negatives come from all devices and all microbatches.

Held-out examples are pairs of texts that people scored. The weights with the highest rank correlation between the
cosines and the scores are the best.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import Model
from bert_jax.embedding import losses, sts
from bert_jax.embedding.pooling import make, normalise, vectors_of_texts
from bert_jax.embedding.readout import Dense, Normalise, Readout
from bert_jax.metrics import regression
from bert_jax.modeling.heads import _linear
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, WholeBatch, normalized
from bert_jax.tasks import Outputs, Task
from bert_jax.tasks._texts import SHORTEST, encode_apart
from bert_jax.tasks.classification import find_labels, label_numbers
from configuration import variants
from configuration.variants import Variant, require, use
from data_pipeline.batches.labelled_rows import Encoded
from data_pipeline.labelled import Record, check_text, number
from data_pipeline.tokenizers import Tokenizer

PROJECTION = "projection"  # the part that `dense` adds


def parts(
    model: Model,
    *,
    loss: Variant = use("multiple_negatives"),
    pooling: str = "mean",
    labels: Sequence[str] = (),
    dense: int = 0,
) -> Parts:
    """What the loss trains, and the dense layer after pooling."""
    own = dict(losses.parts_of(fitted(loss, pooling, labels), model))
    if dense:
        check_dense(model, pooling, dense, own)
        own[PROJECTION] = _linear.part(model, dense)
    return own


def build(
    model: Model,
    vocabulary: Vocabulary,
    *,
    loss: Variant = use("multiple_negatives"),
    texts: Sequence[str] = ("text", "text"),
    pooling: str = "mean",
    labels: Sequence[str] = (),
    dense: int = 0,
) -> Objective:
    """The objective.

    Args:
      loss: a file of bert_jax/embedding/losses.
      texts: columns of an example's texts, in the order that the loss takes them; the same column twice is a text
        twice, each time under dropout of its own.
      pooling: as `bert_jax.embed` has it: "cls", "mean", "max", "first_last", …
      labels: names of the classes, for a loss of classes.
      dense: outputs of a dense layer with tanh after pooling, which the exported vectors have too; 0 for none.
    """
    del vocabulary
    found = losses.build_loss(fitted(loss, pooling, labels), model)
    losses.check_texts(found, loss.name, len(texts))
    read = reader(model, pooling, dense)

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        del key
        return batch | {"weights": normalized(batch["weights"])}

    def encode(params: Any, batch: Batch, key: jax.Array | None) -> jax.Array:
        return read(params, batch, len(texts), key)

    def value(params: Any, vectors: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
        examples = batch["weights"].size
        fields = {name: batch[name].reshape(examples, *batch[name].shape[2:]) for name in found.needs}
        fields["example_weights"] = batch["weights"].reshape(examples)
        return found.value(params, vectors.reshape(examples, len(texts), -1), fields)

    def whole(params: Any, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        del constants
        return value(params, encode(params, batch, key), batch)

    needs = ("places", "weights", "text_numbers", "text_positions", *found.needs)
    return Objective(corrupt, whole, needs, whole_batch=WholeBatch(encode, value))


def task(
    *,
    loss: Variant = use("multiple_negatives"),
    texts: Sequence[str] = ("text", "text"),
    label: str = "",
    labels: Sequence[str] = (),
    label_range: Sequence[float] = (0.0, 1.0),
    pair: Sequence[str] = ("first", "second"),
    score: str = "score",
    positive_from: float | None = None,
    text_length: int = 0,
    pooling: str = "mean",
    dense: int = 0,
    metric: str = "spearman",
) -> Task:
    """The task.

    Args:
      label: column of the label, for a loss that needs one: a class, or a number.
      labels: names of the classes; found in the training examples where none are given.
      label_range: the numbers that become 0 and 1, such as (0, 5) for STS.
      pair: columns of the two texts of a held-out pair.
      score: column of a held-out pair's score.
      positive_from: scores from this on are those of a pair that belongs together, which average_precision,
        alignment and retrieval need; None for the upper half of the range of the scores.
      text_length: tokens that each text is cut to; 0 for a row's share.
      metric: the primary metric.
    """
    require(len(pair) == 2, "task.pair", pair, "two columns")
    require(
        len(label_range) == 2 and label_range[0] < label_range[1], "task.label_range", label_range, "two rising numbers"
    )
    require(text_length == 0 or text_length >= SHORTEST, "task.text_length", text_length, f"0 or {SHORTEST} and more")
    needs_label = "labels" in losses.build_loss(loss, Model()).needs
    classes = needs_label and "classes" in loss_options(loss)
    require(
        bool(label) == needs_label, "task.label", label, f"{'a column' if needs_label else 'empty'} for {loss.name}"
    )

    def encode(records: Sequence[Record], tokenizer: Tokenizer, length: int, labelled: bool) -> Encoded:
        encoded = encode_apart(records, tokenizer, length, texts, text_length)
        if not needs_label:
            return encoded
        if classes:
            return with_labels(encoded, label_numbers(records, label, labels))
        low, high = label_range
        found = np.array([number(record, label) for record in records], np.float32)
        return with_labels(encoded, (found - np.float32(low)) / np.float32(high - low))

    def encode_pairs(records: Sequence[Record], tokenizer: Tokenizer, length: int, labelled: bool) -> Encoded:
        return encode_apart(records, tokenizer, length, pair, text_length)

    def outputs(model: Model, params: Any, batch: Batch) -> dict[str, jax.Array]:
        return {"vectors": normalise(reader(model, pooling, dense)(params, batch, 2, None))}

    def given_scores(records: Sequence[Record]) -> np.ndarray:
        return np.array([number(record, score) for record in records])

    def scores(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> dict[str, float]:
        files = [record.where.rpartition(":")[0] for record in records]
        documents = [check_text(record, pair[1]) for record in records]
        return sts.pairs(outputs["vectors"], given_scores(records), documents, files, positive_from)

    def answers(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> list[dict[str, Any]]:
        u, v = outputs["vectors"][:, 0], outputs["vectors"][:, 1]
        return [{"cosine": float(value)} for value in sts.cosine(u, v)]

    def each(answers: Sequence[Mapping[str, Any]], records: Sequence[Record]) -> np.ndarray:
        return regression.terms(given_scores(records), np.array([answer["cosine"] for answer in answers]), ranks=True)

    def find(records: Sequence[Record]) -> tuple[str, ...]:
        return find_labels(records, label, labels) if classes else ()

    return Task(
        tuple(pair),
        find,
        encode,
        outputs,
        "example",
        scores,
        metric,
        answers,
        each if metric == "spearman" else None,
        metric,
        statistic=regression.correlation,
        encode_held_out=encode_pairs,
    )


def readout(model: Model, params: Mapping[str, Any], *, pooling: str = "mean", dense: int = 0) -> Readout:
    """How the trained encoder's vectors are read, for embedding and export."""
    steps: list[Dense | Normalise] = [Normalise()]
    if dense:
        layer = {name: np.asarray(array, np.float32) for name, array in params[PROJECTION].items()}
        steps = [Dense(layer["kernel"], layer.get("bias"), "tanh"), Normalise()]
    return Readout(make(pooling, model), tuple(steps))


def reader(model: Model, name: str, dense: int) -> Any:
    """The function (params, batch, T, dropout key) → float32 [B, E, T, D] of the vectors of rows of examples."""
    wanted = make(name, model)

    def read(params: Any, batch: Batch, texts: int, key: jax.Array | None) -> jax.Array:
        found = vectors_of_texts(model, wanted, params, batch, texts, key)
        return jnp.tanh(_linear.logits(model, params[PROJECTION], found)) if dense else found

    return read


def with_labels(encoded: Encoded, labels: np.ndarray) -> Encoded:
    """The examples with a label [n] each."""
    return encoded._replace(per_example={**encoded.per_example, "labels": labels})


def fitted(loss: Variant, pooling: str, labels: Sequence[str]) -> Variant:
    """The loss with the number of classes and of concatenated poolings, where it has these options."""
    known = loss_options(loss)
    facts = {"classes": max(2, len(labels)), "poolings": len(pooling.split("+"))}
    return Variant(loss.name, {name: fact for name, fact in facts.items() if name in known} | dict(loss.options))


def loss_options(loss: Variant) -> Mapping[str, Any]:
    """The options of a loss with their defaults."""
    return variants.options_of(variants.module(losses.__name__, loss.name).build)


def check_dense(model: Model, pooling: str, dense: int, own: Parts) -> None:
    """Raises ConfigError for a dense layer or a loss that needs another width."""
    require(dense > 0, "task.dense", dense, "0 (none) or more")
    require("+" not in pooling, "task.dense", dense, f"0 with pooling={pooling!r}, several side by side")
    require(not own or dense == model.width, "task.dense", dense, f"0 or {model.width}, the width that the loss trains")
