"""A task outside the package: which of two kinds a text is, by the sign of one number, learnt with a margin."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.bert import encode
from bert_jax.modeling.layers import Dense, bind
from bert_jax.modeling.parts import Parts, of_module
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, normalized
from bert_jax.tasks import Outputs, Task, _texts
from data_pipeline.batches.labelled_rows import Encoded
from data_pipeline.labelled import Record, column
from data_pipeline.tokenizers import Tokenizer


class Score(Dense):
    """D to 1."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        super().__init__((model.width, 1), ("embed", None), model, rngs)


def parts(model: Model) -> Parts:
    """One number a text."""
    return {"score": of_module(Score, model)}


def scored(model: Model, params: Any, batch: Batch, key: jax.Array | None) -> jax.Array:
    hidden = encode(model, params, batch, key, batch["places"])
    return bind(Score, model, params["score"])(hidden)[..., 0].astype(jnp.float32)


def build(model: Model, vocabulary: Vocabulary, *, margin: float = 1.0) -> Objective:
    """Hinge loss."""
    del vocabulary

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        del key
        return batch | {"weights": normalized(batch["weights"])}

    def loss(params: Any, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        del constants
        signed = batch["signs"] * scored(model, params, batch, key)
        share = lambda values: (batch["weights"] * values).sum()
        return share(jax.nn.relu(margin - signed)), {"accuracy": share(signed > 0)}

    return Objective(corrupt, loss, ("places", "signs", "weights"))


def task(*, positive: str = "good") -> Task:
    """Texts whose label is `positive`, against all others."""

    def signs(records: Sequence[Record]) -> np.ndarray:
        return np.array([1.0 if column(record, "label") == positive else -1.0 for record in records], np.float32)

    def encoded(records: Sequence[Record], tokenizer: Tokenizer, length: int, labelled: bool) -> Encoded:
        found = _texts.encode(records, tokenizer, length, ("text",), "head", 0)
        return found._replace(per_example={"signs": signs(records) if labelled else np.zeros(len(records), np.float32)})

    def scores(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> dict[str, float]:
        return {"right": float(np.mean(outputs["score"] * signs(records) > 0))}

    return Task(
        ("text",),
        lambda records: (),
        encoded,
        lambda model, params, batch: {"score": scored(model, params, batch, None)},
        "example",
        scores,
        "right",
        lambda outputs, encoded, records: [{"positive": bool(score > 0)} for score in outputs["score"]],
    )
