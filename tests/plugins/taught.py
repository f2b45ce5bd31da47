"""An objective that predicts no tokens: the encoder's output learns a teacher's vector of each masked token."""

from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling.bert import encode
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, normalized


def parts(model: Model) -> Parts:
    """Nothing beside the encoder."""
    return {}


def build(model: Model, vocabulary: Vocabulary) -> Objective:
    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        chosen = jax.random.bernoulli(key, 0.3, batch["tokens"].shape) & (batch["segments"] > 0)
        shown = jnp.where(chosen, vocabulary.mask, batch["tokens"])
        return batch | {"tokens": shown, "read": batch["tokens"], "chosen": normalized(chosen.astype(jnp.float32))}

    def loss(params: dict, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        x = encode(model, params, batch, key).astype(jnp.float32)
        distance = jnp.square(x - constants[batch["read"].astype(jnp.int32)]).mean(-1)
        close = ((distance < 2) * batch["chosen"]).sum()
        return (distance * batch["chosen"]).sum(), {"accuracy": close}

    teacher = jax.random.normal(jax.random.key(7), (vocabulary.size, model.width))
    return Objective(corrupt, loss, constants=teacher)
