"""Regression of graded similarity: (cos(u, v) − label)² (Reimers and Gurevych 2019, arXiv 1908.10084, section 3)."""

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.embedding.losses import Batch, Loss, Metrics, pair_cosine


def build(model: Model) -> Loss:
    """The loss of two texts; needs `labels` float [B], from −1 to 1 (STS-B's of 0 to 5 divided by 5)."""
    del model

    def value(params: dict, vectors: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
        """The mean square, and the mean cosine."""
        del params
        found, weights = pair_cosine(vectors[:, 0], vectors[:, 1]), batch["example_weights"]
        return (jnp.square(found - batch["labels"]) * weights).sum(), {"cosine": (found * weights).sum()}

    return Loss(value, (2,), ("labels",))
