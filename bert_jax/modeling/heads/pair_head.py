"""Two logits for a pair of texts: next sentence, or sentence order."""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.layers import Dense, bind
from bert_jax.modeling.parts import Part, of_module


def build(model: Model) -> Part:
    """The head; it has no options."""
    return of_module(PairHead, model)


class PairHead(Dense):
    """D to 2."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        super().__init__((model.width, 2), ("embed", None), model, rngs)


def logits(model: Model, params: dict, pooled: jax.Array) -> jax.Array:
    """pooled [B, D] → float32 [B, 2]."""
    return bind(PairHead, model, params["pair_head"])(pooled).astype(jnp.float32)
