"""Losses of sentence vectors, one a file: `build(model, *, options) -> Loss`.

Where a loss has weights of its own, its file has `parts(model, *, options)` too, with the options that these need.

A loss is a pure function of the vectors of the global batch. Over a mesh XLA gathers the vectors, and gradients go
through that: negatives are those of the whole batch, not of a device. With microbatches see `gradient_cache`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.embedding.pooling import normalise
from bert_jax.modeling.parts import Parts
from configuration.variants import ConfigError, Variant, load, module, options_of

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Value = Callable[[Any, jax.Array, Batch], tuple[jax.Array, Metrics]]


class Loss(NamedTuple):
    """`value(params, vectors, batch) -> (loss, metrics)`.

    `vectors` are float32 [B, T, D]: T texts of each example, as the loss's file says. `batch` has `example_weights`
    float [B], which add up to 1 over the global batch and are 0 for padding, and the fields that the loss `needs`:
    `labels` [B], or `text_ids` int32 [B, T], equal for equal texts.
    """

    value: Value
    texts: tuple[int, ...]  # T that it takes; () for any from 2 on
    needs: tuple[str, ...] = ()


def build_loss(variant: Variant, model: Model) -> Loss:
    """The loss of a file of this folder."""
    return load(__name__, variant)(model)


def parts_of(variant: Variant, model: Model) -> Parts:
    """The parts that it trains in addition to the encoder, by the names of their subtrees."""
    function = getattr(module(__name__, variant.name), "parts", None)
    if function is None:
        return {}
    known = options_of(function)
    own = Variant(variant.name, {name: value for name, value in variant.options.items() if name in known})
    return load(__name__, own, "parts")(model)


def pair_cosine(u: jax.Array, v: jax.Array) -> jax.Array:
    """u, v [..., D] → [...], row by row."""
    return (normalise(u) * normalise(v)).sum(-1)


def cosines(u: jax.Array, v: jax.Array) -> jax.Array:
    """u [B, D], v [C, D] → [B, C], all pairs."""
    return jnp.matmul(normalise(u), normalise(v).T, precision="highest")


def check_texts(loss: Loss, name: str, texts: int) -> None:
    """Raises ConfigError unless the loss takes examples of this many texts."""
    if (texts not in loss.texts) if loss.texts else texts < 2:
        wanted = " or ".join(map(str, loss.texts)) or "2 or more"
        raise ConfigError(f"the loss {name} takes {wanted} texts an example; there are {texts}")
