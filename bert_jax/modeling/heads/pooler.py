"""The pooler: tanh of a dense layer over the row's first token (Devlin et al. 2018)."""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.layers import Dense, bind
from bert_jax.modeling.parts import Part, of_module


def build(model: Model) -> Part:
    """The head; it has no options."""
    return of_module(Pooler, model)


class Pooler(Dense):
    """D to D."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        super().__init__((model.width, model.width), ("embed", None), model, rngs)


def pool(model: Model, params: dict, hidden: jax.Array) -> jax.Array:
    """hidden [B, L, D] → [B, D], of each row's first token."""
    return transform(model, params, hidden[:, 0])


def transform(model: Model, params: dict, hidden: jax.Array) -> jax.Array:
    """hidden [..., D] of first tokens → [..., D]."""
    return jnp.tanh(bind(Pooler, model, params["pooler"])(hidden))
