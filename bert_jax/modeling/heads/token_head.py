"""Logits of each token (BertForTokenClassification)."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.layers import Dense, bind
from bert_jax.modeling.parts import Part, of_module


def build(model: Model, *, outputs: int = 2) -> Part:
    """The head with so many outputs."""
    return of_module(functools.partial(TokenHead, outputs=outputs), model)


class TokenHead(Dense):
    """D to `outputs`."""

    def __init__(self, model: Model, rngs: nnx.Rngs, outputs: int):
        super().__init__((model.width, outputs), ("embed", None), model, rngs)


def logits(model: Model, params: dict, hidden: jax.Array) -> jax.Array:
    """hidden [..., D] → float32 [..., outputs]."""
    own = params["token_head"]
    head = functools.partial(TokenHead, outputs=own["kernel"].shape[1])
    return bind(head, model, own)(hidden).astype(jnp.float32)
