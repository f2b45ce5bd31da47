"""Two logits of each token: that an answer starts there, and that it ends there (BertForQuestionAnswering)."""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.layers import Dense, bind
from bert_jax.modeling.parts import Part, of_module


def build(model: Model) -> Part:
    """The head; it has no options."""
    return of_module(SpanHead, model)


class SpanHead(Dense):
    """D to 2."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        super().__init__((model.width, 2), ("embed", None), model, rngs)


def logits(model: Model, params: dict, hidden: jax.Array) -> jax.Array:
    """hidden [..., D] → float32 [..., 2]."""
    return bind(SpanHead, model, params["span_head"])(hidden).astype(jnp.float32)
