"""CoSENT: pairs ranked as their scores are (Su 2022, https://kexue.fm/archives/8847).

log(1 + Σ exp(scale · (cos(pair i) − cos(pair j)))) over all i, j of the batch where people scored pair j higher.
"""

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.embedding.losses import Batch, Loss, Metrics, pair_cosine
from configuration.variants import ConfigError


def build(model: Model, *, scale: float = 20.0) -> Loss:
    """The loss of two texts; needs `labels` float [B], of which only the order counts.

    Args:
      scale: of the cosines.
    """
    del model
    if not scale > 0:
        raise ConfigError(f"cosent.scale is {scale}; it must be a number above 0")

    def value(params: dict, vectors: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
        """The loss of the batch, and the mean cosine; examples count alike, or not at all with weight 0."""
        del params
        found, weights = pair_cosine(vectors[:, 0], vectors[:, 1]), batch["example_weights"]
        labels, real = batch["labels"], weights > 0
        ranked = (labels[:, None] < labels[None, :]) & real[:, None] & real[None, :]
        terms = jnp.where(ranked, scale * (found[:, None] - found[None, :]), -jnp.inf)
        loss = jax.nn.logsumexp(jnp.append(terms.reshape(-1), 0.0))
        return loss, {"cosine": (found * weights).sum()}

    return Loss(value, (2,), ("labels",))
