"""A linear layer from D to some logits: what most heads are."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.layers import Dense, Make, bind
from bert_jax.modeling.parts import Part, of_module


class Linear(Dense):
    """D to `outputs`."""

    def __init__(self, model: Model, rngs: nnx.Rngs, outputs: int):
        super().__init__((model.width, outputs), ("embed", None), model, rngs)


@functools.cache
def with_outputs(outputs: int) -> Make[Linear]:
    """The layer's constructor with this many outputs, cached so that its definition is made once."""
    return functools.partial(Linear, outputs=outputs)


def part(model: Model, outputs: int) -> Part:
    """The head with this many outputs."""
    return of_module(with_outputs(outputs), model)


def logits(model: Model, params: dict[str, Any], x: jax.Array) -> jax.Array:
    """x [..., D] → float32 [..., outputs]; `params` are the head's own."""
    return bind(with_outputs(params["kernel"].shape[1]), model, params)(x).astype(jnp.float32)
