"""Attention head by head in plain XLA, queries in blocks, each against all keys: O(L · block) memory, float32 products.

The backward pass computes a block's scores again (Rabe and Staats 2021, arXiv 2112.05682), and which probabilities
dropout keeps. On a CPU that costs no more than writing and reading O(L²) numbers, and a product of one head runs faster
than a batch of products.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.modeling.kernels import Addition, Kernel, Request, _dropout
from bert_jax.modeling.kernels._mesh import over_mesh
from bert_jax.modeling.visibility import Visibility

BLOCK = 512
# Rows of at least this many tokens take no longer than with all scores at once, on a CPU.
SHORTEST = 512
SHORTEST_FLOAT32 = 64
SHORTEST_TRAINING = 2048  # without dropout, whose mask would be kept for the backward pass


def build(*, block: int = BLOCK, shortest: int = 0) -> Kernel:
    """The kernel.

    Args:
      block: queries in a block.
      shortest: tokens of the shortest rows that it takes, to save memory; 0 for `shortest_quick`.
    """
    return Kernel(
        functools.partial(unsupported, shortest=shortest),
        functools.partial(attend, block=block),
        preference={"cpu": 1},
    )


def unsupported(request: Request, *, shortest: int = 0) -> str | None:
    """None, or why not."""
    if request.window is not None:
        return "chunked takes no windows"
    if request.needs != "nothing":
        return f"chunked takes no {request.needs} by distance, which these positions need"
    shortest = shortest or shortest_quick(request)
    if request.length < shortest:
        return f"chunked takes rows of at least {shortest} tokens, not of {request.length}"
    return None


def shortest_quick(request: Request) -> int:
    """Tokens of the shortest rows that take no longer than with all scores at once."""
    if request.training:
        return SHORTEST if request.dropout else SHORTEST_TRAINING
    return SHORTEST_FLOAT32 if request.dtype == "float32" else SHORTEST


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    visibility: Visibility,
    *,
    scale: float,
    addition: Addition = None,
    rate: float = 0.0,
    key: jax.Array | None = None,
    block: int = BLOCK,
) -> jax.Array:
    """q [B, P, N, H], k [B, L, N, H], v [B, L, N, G] → [B, P, N, G]; see `unsupported` for its limits."""
    assert addition is None
    # As a whole: the products of a head read another dtype's numbers one and a half times as slowly.
    exact = (x.astype(jnp.float32) for x in (q, k, v))
    run = over_mesh(functools.partial(_attend, scale=scale, block=block, rate=rate))
    if key is None or rate == 0:
        return run(*exact, Row(visibility)).astype(v.dtype)
    places = jnp.arange(q.shape[1])[None] if visibility.query_places is None else visibility.query_places
    words = _dropout.words(key, places, q.shape[0], q.shape[2], k.shape[1])
    return run(*exact, Row(visibility, words.queries, words.keys), words.heads).astype(v.dtype)


class Row(NamedTuple):
    """What belongs to rows, beside their vectors; the words of dropout are None without it."""

    visibility: Visibility
    query_words: jax.Array | None = None  # uint32 [B, P]
    key_words: jax.Array | None = None  # uint32 [B, L]


def _attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    rows: Row,
    of_heads: jax.Array | None = None,
    *,
    scale: float,
    block: int,
    rate: float,
) -> jax.Array:
    """As `attend`, in float32 on one device; of_heads uint32 [N, 2], or None without dropout."""
    queries = q.shape[1]
    number = -(-queries // block)
    block = -(-queries // number)  # even, so that the last has hardly less to do
    places = jnp.minimum(jnp.arange(number * block), queries - 1).reshape(number, block)  # the last one fills the end

    def row(of: tuple[jax.Array, jax.Array, jax.Array, Row]) -> jax.Array:
        """[P, N, H], [L, N, H], [L, N, G] → [P, N, G]."""
        *arrays, beside = of
        by_head = (*(jnp.swapaxes(x, 0, 1) for x in arrays), of_heads)
        return jnp.swapaxes(jax.lax.map(functools.partial(head, beside), by_head), 0, 1)

    def head(beside: Row, of: tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]) -> jax.Array:
        """[P, H], [L, H], [L, G] → [P, G]."""
        q, k, v, word = of
        visibility = jax.tree.map(lambda x: x[None], beside.visibility)
        padded = jnp.pad(q, ((0, number * block - queries), (0, 0)))

        @functools.partial(jax.checkpoint, prevent_cse=False)
        def some(of: tuple[jax.Array, jax.Array]) -> jax.Array:
            """Some queries [block, H] and their places → [block, G]."""
            # Without the barrier the masks of all blocks, O(L²) bytes, are computed once, before the loop over heads.
            queries, places = jax.lax.optimization_barrier(of)
            scores = scale * jnp.einsum("lh,mh->lm", queries, k)
            seen = visibility.at(places[None]).mask()[0]
            probabilities = jax.nn.softmax(jnp.where(seen, scores, jnp.finfo(jnp.float32).min), axis=-1)
            if visibility.ranked:  # there may be queries that see nothing
                probabilities = jnp.where(seen, probabilities, 0)
            if beside.query_words is None or beside.key_words is None or word is None:
                return jnp.einsum("lm,mg->lg", probabilities, v)
            kept = _dropout.kept(beside.query_words[places][:, None], beside.key_words[None], word, rate)
            return jnp.einsum("lm,mg->lg", jnp.where(kept, probabilities, 0), v) / (1 - rate)

        return jax.lax.map(some, (padded.reshape(number, block, -1), places)).reshape(number * block, -1)[:queries]

    return jax.lax.map(row, (q, k, v, rows))
