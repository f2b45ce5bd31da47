"""The other examples of the batch as negatives (Henderson et al. 2017, arXiv 1705.00652, section 4.4).

−log softmax(scale · cos(anchor, candidates)) at the anchor's own positive, where the candidates are the positives and
the hard negatives of all examples of the global batch. Texts that occur more than once are not pushed from what they
belong to: a positive is no negative of an anchor if their pairs have a text in common, and a hard negative is none of
an anchor whose pair has it.
"""

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.embedding.losses import Batch, Loss, Metrics, cosines
from configuration.variants import ConfigError


def build(
    model: Model, *, scale: float = 20.0, both_directions: bool = False, hard_negative_weight: float = 1.0
) -> Loss:
    """The loss of an anchor, its positive, and any number of hard negatives.

    Args:
      scale: of the cosines, 1 / temperature.
      both_directions: the mean of this loss and that of each positive among the anchors.
      hard_negative_weight: of an anchor's own hard negatives in the sum over candidates; SimCSE's α.
    """
    del model
    for name, number in (("scale", scale), ("hard_negative_weight", hard_negative_weight)):
        if not number > 0:
            raise ConfigError(f"multiple_negatives.{name} is {number}; it must be a number above 0")

    def value(params: dict, vectors: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
        """The mean, and the share of anchors whose positive is the nearest candidate."""
        del params
        weights = batch["example_weights"]
        scores = candidates(vectors, weights, batch["text_ids"], scale, hard_negative_weight)
        loss, accuracy = choice(scores, weights)
        if both_directions:
            back, _ = choice(scores[:, : len(vectors)].T, weights)
            loss = (loss + back) / 2
        return loss, {"accuracy": accuracy}

    return Loss(value, (), ("text_ids",))


def candidates(
    vectors: jax.Array, weights: jax.Array, ids: jax.Array, scale: float, hard_negative_weight: float
) -> jax.Array:
    """vectors [B, T, D] → scores [B, (T − 1) B]: of each anchor the positives first, its own in column i.

    Examples of weight 0 are no candidates, and have none.

    Args:
      ids: [B, T], equal for equal texts.
    """
    size, texts, _ = vectors.shape
    others = jnp.moveaxis(vectors[:, 1:], 1, 0).reshape((texts - 1) * size, -1)
    scores = scale * cosines(vectors[:, 0], others)
    own_negative = jnp.concatenate([jnp.zeros((size, size)), *[jnp.eye(size)] * (texts - 2)], axis=1)
    scores = scores + jnp.log(hard_negative_weight) * own_negative
    # Padding keeps its own positive, so that its own softmax, which weighs nothing, is not one of nothing.
    real = weights > 0
    pairs = ids[:, :2]
    shared = (pairs[:, None, :, None] == pairs[None, :, None, :]).any((2, 3))
    equal = jnp.concatenate([shared, (pairs[:, :, None] == ids[:, 2:].T.reshape(-1)).any(1)], axis=1)
    there = (real[:, None] & jnp.tile(real, texts - 1) & ~equal) | jnp.eye(size, (texts - 1) * size, dtype=bool)
    return jnp.where(there, scores, -jnp.inf)


def choice(scores: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """scores [B, C], the right one of row i in column i → weighted sums of −log softmax and of the right answers."""
    own = jnp.diagonal(scores)
    loss = jax.nn.logsumexp(scores, axis=-1) - own
    return (loss * weights).sum(), ((own == scores.max(-1)) * weights).sum()
