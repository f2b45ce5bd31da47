"""Vectors whose leading dimensions are vectors too (Kusupati et al. 2022, arXiv 2205.13147, section 3)."""

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.embedding.losses import Batch, Loss, Metrics, build_loss, parts_of
from configuration.variants import ConfigError, Variant, use


def build(
    model: Model,
    *,
    loss: Variant = use("multiple_negatives"),
    dimensions: tuple[int, ...] = (768, 512, 256, 128, 64),
    weights: tuple[float, ...] = (),
) -> Loss:
    """The sum of a loss over several truncations of the vectors to their leading dimensions.

    Args:
      loss: a file of this folder that trains nothing of its own.
      dimensions: sizes of the truncations; those above the vector's size are left out.
      weights: of each; empty for 1.
    """
    weights = weights or (1.0,) * len(dimensions)
    if len(weights) != len(dimensions) or not dimensions or min(dimensions) < 1:
        raise ConfigError(
            f"matryoshka.dimensions is {dimensions} and weights {weights}; give numbers above 0, each with a weight"
        )
    inner = build_loss(loss, model)
    if parts_of(loss, model):
        raise ConfigError(f"matryoshka.loss is {loss.name}, whose dense layer has one width; name another loss")

    def value(params: dict, vectors: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
        """The sum, and the metrics of the most dimensions."""
        total = jnp.zeros(())
        metrics: Metrics = {}
        for size, weight in sorted(zip(dimensions, weights, strict=True)):
            if size <= vectors.shape[-1]:
                found, metrics = inner.value(params, vectors[..., :size], batch)
                total = total + weight * found
        if not metrics:
            raise ConfigError(f"matryoshka.dimensions is {dimensions}, all above the vectors' {vectors.shape[-1]}")
        return total, metrics

    return Loss(value, inner.texts, inner.needs)
