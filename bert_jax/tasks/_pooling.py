"""One vector for each example of a row.

- "cls": the last layer's [CLS] through the pooler (Devlin et al. 2018).
- "mean", "max": of the last layer's states, over all tokens.
- "last_four": the mean of the last four layers' [CLS] (Sun et al. 2019, arXiv 1905.05583, section 5.3.2).
- "learned_layers": every layer's [CLS], mixed by weights that are learnt (Peters et al. 2018, ELMo).
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling.bert import encode
from bert_jax.modeling.heads import layer_mix, pooler
from configuration.variants import require

Pooling = Literal["cls", "mean", "max", "last_four", "learned_layers"]
Batch = dict[str, jax.Array]
HEADS = {"cls": "pooler", "learned_layers": "layer_mix"}  # what a pooling trains beside the encoder
FOUR = 4


def pooling_heads(model: Model, pooling: Pooling) -> list[str]:
    """The parts that the pooling trains beside the encoder.

    Raises:
      ConfigError: the encoder has fewer layers than are read.
    """
    enough = pooling != "last_four" or model.layers >= FOUR
    require(enough, "task.pooling", pooling, f"another for an encoder of {model.layers} layers: it reads {FOUR}")
    return [HEADS[pooling]] if pooling in HEADS else []


def pooled(model: Model, params: Any, batch: Batch, pooling: Pooling, key: jax.Array | None) -> jax.Array:
    """[B, E, D] of the examples; for "cls" the last layer computes those positions alone."""
    if pooling == "cls":
        return pooler.transform(model, params, encode(model, params, batch, key, batch["places"]))
    if pooling in ("last_four", "learned_layers"):
        states = encode(model, params, batch, key, every_layer=True)  # [n, B, L, D]
        firsts = jnp.take_along_axis(states, batch["places"][None, :, :, None], axis=2)  # [n, B, E, D]
        return firsts[-FOUR:].mean(0) if pooling == "last_four" else layer_mix.mixed(model, params, firsts)
    hidden = encode(model, params, batch, key)
    numbers = 1 + jnp.arange(batch["places"].shape[1])
    own = batch["segments"][:, None, :] == numbers[None, :, None]  # [B, E, L]
    if pooling == "mean":
        sums = jnp.einsum("bel,bld->bed", own.astype(hidden.dtype), hidden)
        return sums / jnp.maximum(1, own.sum(-1))[..., None].astype(hidden.dtype)
    lowest = jnp.finfo(hidden.dtype).min
    one = lambda own: jnp.where(own[:, :, None], hidden, lowest).max(1)  # one example of each row at a time: [B, D]
    return jnp.where(own.any(-1)[..., None], jax.lax.map(one, own.swapaxes(0, 1)).swapaxes(0, 1), 0)
