"""Triplets: max(|a − p| − |a − n| + margin, 0) (Reimers and Gurevych 2019, arXiv 1908.10084, section 3)."""

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.embedding.losses import Batch, Loss, Metrics
from configuration.variants import ConfigError


def build(model: Model, *, margin: float = 1.0) -> Loss:
    """The loss of an anchor, a positive and a negative, by Euclidean distance.

    Args:
      margin: how much farther away the negative must be.
    """
    del model
    if margin < 0:
        raise ConfigError(f"triplet.margin is {margin}; it must be 0 or more")

    def value(params: dict, vectors: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
        """The mean, and the share of triplets in the right order."""
        del params
        anchor, positive, negative = (vectors[:, i] for i in range(3))
        near, far, weights = distance(anchor, positive), distance(anchor, negative), batch["example_weights"]
        loss = jnp.maximum(near - far + margin, 0)
        return (loss * weights).sum(), {"accuracy": ((near < far) * weights).sum()}

    return Loss(value, (3,))


def distance(u: jax.Array, v: jax.Array) -> jax.Array:
    """u, v [B, D] → [B], with gradient 0 where they are equal."""
    square = jnp.square(u - v).sum(-1)
    apart = square > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)
