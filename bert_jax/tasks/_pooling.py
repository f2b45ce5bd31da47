"""One vector for each example of a row."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling.bert import encode
from bert_jax.modeling.heads import pooler

Pooling = Literal["cls", "mean", "max"]
Batch = dict[str, jax.Array]


def pooled(model: Model, params: Any, batch: Batch, pooling: Pooling, key: jax.Array | None) -> jax.Array:
    """[B, E, D] of the examples; "cls" goes through the pooler, and the last layer computes those places alone."""
    if pooling == "cls":
        return pooler.transform(model, params, encode(model, params, batch, key, batch["places"]))
    hidden = encode(model, params, batch, key)
    numbers = 1 + jnp.arange(batch["places"].shape[1])
    own = batch["segments"][:, None, :] == numbers[None, :, None]  # [B, E, L]
    if pooling == "mean":
        sums = jnp.einsum("bel,bld->bed", own.astype(hidden.dtype), hidden)
        return sums / jnp.maximum(1, own.sum(-1))[..., None].astype(hidden.dtype)
    lowest = jnp.finfo(hidden.dtype).min
    one = lambda own: jnp.where(own[:, :, None], hidden, lowest).max(1)  # one example of each row at a time: [B, D]
    return jnp.where(own.any(-1)[..., None], jax.lax.map(one, own.swapaxes(0, 1)).swapaxes(0, 1), 0)
