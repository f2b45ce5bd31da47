"""A linear layer from D, or several vectors of D side by side, to some logits: what most heads are."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.layers import Dense, Make, bind
from bert_jax.modeling.parts import Part, of_module


class Linear(Dense):
    """`vectors` · D to `outputs`."""

    def __init__(self, model: Model, rngs: nnx.Rngs, outputs: int, vectors: int):
        super().__init__((vectors * model.width, outputs), ("embed", None), model, rngs)


@functools.cache
def of_size(outputs: int, vectors: int) -> Make[Linear]:
    """The layer's constructor with this many outputs and inputs, cached so that its definition is made once."""
    return functools.partial(Linear, outputs=outputs, vectors=vectors)


def part(model: Model, outputs: int, vectors: int = 1) -> Part:
    """The head with this many outputs."""
    return of_module(of_size(outputs, vectors), model)


def logits(model: Model, params: dict[str, Any], x: jax.Array) -> jax.Array:
    """x [..., vectors · D] → float32 [..., outputs]; `params` are the head's own."""
    inputs, outputs = params["kernel"].shape
    return bind(of_size(outputs, inputs // model.width), model, params)(x).astype(jnp.float32)
