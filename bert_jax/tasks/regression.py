"""A number for a text, or for a pair of texts, such as how alike they are: BertForSequenceClassification, one output.

The loss is the mean squared error of the examples (Devlin et al. 2018, section 4.1, STS-B).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import Model
from bert_jax.metrics import regression
from bert_jax.modeling import heads
from bert_jax.modeling.heads import sequence_head
from bert_jax.modeling.layers import dropout, split_key
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary
from bert_jax.tasks import Outputs, Task, _texts, shared_out
from bert_jax.tasks._pooling import COMPARED, NEEDS, VECTORS, PairPooling, check_compared, pooled, pooling_heads
from configuration.variants import use
from data_pipeline.batches.labelled_rows import Encoded
from data_pipeline.labelled import Record, number
from data_pipeline.tokenizers import Tokenizer


def parts(model: Model, *, pooling: PairPooling = "cls") -> Parts:
    """The head, and what the pooling trains."""
    head = use("sequence_head", outputs=1, vectors=VECTORS.get(pooling, 1))
    return heads.parts(model, *pooling_heads(model, pooling), head)


def build(model: Model, vocabulary: Vocabulary, *, pooling: PairPooling = "cls") -> Objective:
    """The objective; `pooling` is which vector stands for a text."""
    del vocabulary

    def loss(params: Any, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        del constants
        encoder_key, head_key = split_key(key, 2)
        vectors = dropout(pooled(model, params, batch, pooling, encoder_key), model.dropout, head_key)
        error = sequence_head.logits(model, params, vectors)[..., 0] - batch["labels"]
        return (batch["weights"] * jnp.square(error)).sum(), {"error": (batch["weights"] * jnp.abs(error)).sum()}

    return Objective(shared_out("weights"), loss, ("places", "labels", "weights", *NEEDS.get(pooling, ())))


def task(
    *,
    text: str = "text",
    second: str = "",
    label: str = "label",
    metric: str = "spearman",
    pooling: PairPooling = "cls",
    truncation: _texts.Truncation = "head",
    stride: int = 64,
) -> Task:
    """The task; the options are those of classification.py."""
    check_compared(pooling, second, truncation)
    columns = (text, second) if second else (text,)

    def numbers(records: Sequence[Record]) -> np.ndarray:
        return np.array([number(record, label) for record in records], np.float32)

    def encode(records: Sequence[Record], tokenizer: Tokenizer, length: int, labelled: bool) -> Encoded:
        encoded = _texts.encode(records, tokenizer, length, columns, truncation, stride, pooling == COMPARED)
        found = numbers(records) if labelled else np.zeros(len(records), np.float32)
        return encoded._replace(per_example={"labels": found[encoded.records]})

    def outputs(model: Model, params: Any, batch: Batch) -> dict[str, jax.Array]:
        return {"value": sequence_head.logits(model, params, pooled(model, params, batch, pooling, None))}

    def values(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> np.ndarray:
        return _texts.mean_over_windows(outputs["value"].astype(np.float64), encoded, len(records))[:, 0]

    def scores(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> dict[str, float]:
        found, wanted = values(outputs, encoded, records), numbers(records)
        return regression.compute(wanted, found) | {"negative_error": -float(np.abs(found - wanted).mean())}

    def answers(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> list[dict[str, Any]]:
        return [{"value": float(value)} for value in values(outputs, encoded, records)]

    by_correlation = metric in regression.CORRELATIONS

    def each(answers: Sequence[Mapping[str, Any]], records: Sequence[Record]) -> np.ndarray:
        found = np.array([answer["value"] for answer in answers])
        if by_correlation:
            return regression.terms(numbers(records), found, ranks=metric == "spearman")
        return -np.abs(found - numbers(records))

    find = lambda records: ()
    said, statistic = (metric, regression.correlation) if by_correlation else ("negative error", None)
    return Task(columns, find, encode, outputs, "example", scores, metric, answers, each, said, statistic)
