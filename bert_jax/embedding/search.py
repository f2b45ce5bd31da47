"""The nearest vectors, exactly: all scores on the device, block by block, so that vectors may stay on the disk."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.embedding.pooling import normalise
from configuration.variants import ConfigError

Score = Literal["cosine", "dot"]


def search(
    queries: np.ndarray,
    vectors: np.ndarray,
    top: int,
    score: Score = "cosine",
    *,
    block: int = 65536,
    query_block: int = 256,
) -> tuple[np.ndarray, np.ndarray]:
    """The vectors with the largest scores for each query, best first; of equal ones the first in order.

    Args:
      queries: float [Q, D].
      vectors: float [n, D]; may be a memory map.
      top: how many, k; fewer if there are fewer vectors.
      block: vectors on the device at once; each is read once.
      query_block: queries that are compared with them at once.

    Returns:
      scores float32 [Q, k], and which vectors, int64 [Q, k].

    Raises:
      ConfigError: vectors of another width than the queries, or no vector to be found.
    """
    if queries.shape[1:] != vectors.shape[1:]:
        raise ConfigError(
            f"the queries have {queries.shape[1]} numbers each and the vectors {vectors.shape[1]}; "
            "make both by the same model in the same way"
        )
    if not len(vectors) or top < 1:
        raise ConfigError(f"top is {top} of {len(vectors)} vectors; give a number from 1 on, and vectors")
    block, top = min(block, len(vectors)), min(top, len(vectors))
    prepare = normalise if score == "cosine" else jnp.asarray
    parts = [
        jax.device_put(_padded(queries[start : start + query_block], min(query_block, len(queries))))
        for start in range(0, len(queries), query_block)
    ]
    parts = [prepare(part) for part in parts]
    best = [(jnp.full((len(part), top), -jnp.inf), jnp.zeros((len(part), top), jnp.int32)) for part in parts]
    for start in range(0, len(vectors), block):
        there = prepare(jax.device_put(_padded(vectors[start : start + block], block)))
        real = min(block, len(vectors) - start)
        best = [_better(part, there, *found, start, real) for part, found in zip(parts, best, strict=True)]
    scores, numbers = (np.concatenate([np.asarray(found[i]) for found in best])[: len(queries)] for i in (0, 1))
    return scores, numbers.astype(np.int64)


@functools.partial(jax.jit, donate_argnums=(2, 3))
def _better(
    queries: jax.Array, vectors: jax.Array, scores: jax.Array, numbers: jax.Array, start: jax.Array, real: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The best of those found before, [Q, k], and the first `real` of vectors [b, D], which are number `start` on."""
    top = scores.shape[1]
    new = jnp.matmul(queries, vectors.T, precision="highest")
    new = jnp.where(jnp.arange(len(vectors)) < real, new, -jnp.inf)
    new, places = jax.lax.top_k(new, min(top, len(vectors)))
    scores, numbers = jnp.concatenate([scores, new], 1), jnp.concatenate([numbers, start + places], 1)
    scores, chosen = jax.lax.top_k(scores, top)
    return scores, jnp.take_along_axis(numbers, chosen, 1)


def _padded(x: np.ndarray, size: int) -> np.ndarray:
    x = np.asarray(x, np.float32)
    return np.pad(x, ((0, size - len(x)), (0, 0)))
