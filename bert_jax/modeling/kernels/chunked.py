"""Attention head by head in plain XLA, queries in blocks, each against all keys: O(L · block) memory, float32 products.

The backward pass computes a block's scores again (Rabe and Staats 2021, arXiv 2112.05682). On a CPU that costs no more
than writing and reading O(L²) numbers, and a product of one head runs faster than a batch of products.
"""

import functools

import jax
import jax.numpy as jnp

from bert_jax.modeling.kernels import Addition, Kernel, Request
from bert_jax.modeling.kernels._mesh import over_mesh
from bert_jax.modeling.visibility import Visibility

BLOCK = 512
# Rows of at least this many tokens take no longer than with all scores at once, on a CPU and with freed memory kept by
# the process. Without that, float32 rows from 64 tokens on are quicker in training too.
SHORTEST_TRAINING = 2048
SHORTEST_FLOAT32 = 64
SHORTEST = 512


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
    if request.dropout:
        return "chunked has no dropout on the attention probabilities (config.model.attention_dropout=0 turns it off)"
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
        return SHORTEST_TRAINING
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
    assert rate == 0 or key is None
    # As a whole: the products of a head read another dtype's numbers one and a half times as slowly.
    exact = (x.astype(jnp.float32) for x in (q, k, v))
    return over_mesh(functools.partial(_attend, scale=scale, block=block))(*exact, visibility).astype(v.dtype)


def _attend(q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility, *, scale: float, block: int) -> jax.Array:
    """As `attend`, in float32 on one device."""
    queries = q.shape[1]
    number = -(-queries // block)
    block = -(-queries // number)  # even, so that the last has hardly less to do
    places = jnp.minimum(jnp.arange(number * block), queries - 1).reshape(number, block)  # the last one fills the end

    def row(of: tuple[jax.Array, jax.Array, jax.Array, Visibility]) -> jax.Array:
        """[P, N, H], [L, N, H], [L, N, G] → [P, N, G]."""
        *arrays, visibility = of
        alone = jax.tree.map(lambda x: x[None], visibility)
        of_heads = jax.lax.map(functools.partial(head, alone), tuple(jnp.swapaxes(x, 0, 1) for x in arrays))
        return jnp.swapaxes(of_heads, 0, 1)

    def head(visibility: Visibility, of: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        """[P, H], [L, H], [L, G] → [P, G]."""
        q, k, v = of
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
            return jnp.einsum("lm,mg->lg", probabilities, v)

        return jax.lax.map(some, (padded.reshape(number, block, -1), places)).reshape(number * block, -1)[:queries]

    return jax.lax.map(row, (q, k, v, visibility))
