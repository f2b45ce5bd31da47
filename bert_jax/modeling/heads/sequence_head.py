"""Logits of a text or a pair of texts, from its pooled vector: classes, or a number (BertForSequenceClassification)."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.layers import Dense, bind
from bert_jax.modeling.parts import Part, of_module


def build(model: Model, *, outputs: int = 2) -> Part:
    """The head with so many outputs."""
    return of_module(functools.partial(SequenceHead, outputs=outputs), model)


class SequenceHead(Dense):
    """D to `outputs`."""

    def __init__(self, model: Model, rngs: nnx.Rngs, outputs: int):
        super().__init__((model.width, outputs), ("embed", None), model, rngs)


def logits(model: Model, params: dict, pooled: jax.Array) -> jax.Array:
    """pooled [..., D] → float32 [..., outputs]."""
    own = params["sequence_head"]
    head = functools.partial(SequenceHead, outputs=own["kernel"].shape[1])
    return bind(head, model, own)(pooled).astype(jnp.float32)
