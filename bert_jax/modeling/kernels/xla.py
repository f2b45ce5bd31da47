"""The reference kernel: plain XLA on any device, with dropout and relative tables. Memory is O(L²) for each head."""

import jax
import jax.numpy as jnp

from bert_jax.modeling.kernels import Kernel, Relative, Request
from bert_jax.modeling.layers import dropout_mask


def build() -> Kernel:
    """The kernel; it has no options."""
    return Kernel(unsupported, attend, fewer_queries=True)


def unsupported(request: Request) -> str | None:
    """It can do everything."""
    del request
    return None


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    segments: jax.Array,
    query_segments: jax.Array | None = None,
    *,
    scale: float,
    relative: Relative | None = None,
    rate: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """q, k [B, L, N, H], v [B, L, N, G], segments [B, L] → [B, L, N, G].

    Args:
      query_segments: [B, P] for queries [B, P, N, H] that stand at some places only; not with a relative table.
      scale: of the scores, usually 1/√H of the model's heads.
      relative: vectors added to keys and values by distance.
      rate: share of the probabilities that dropout zeroes, given a `key`.
    """
    scores = jnp.einsum("blnh,bmnh->bnlm", q, k, preferred_element_type=jnp.float32)
    if relative is not None:
        table = relative.table.astype(q.dtype)
        by_distance = jnp.einsum("blnh,dh->bnld", q, table, preferred_element_type=jnp.float32)
        scores += spread(by_distance)
    rows = segments if query_segments is None else query_segments
    same = rows[:, None, :, None] == segments[:, None, None, :]
    scores = jnp.where(same, scores * scale, jnp.finfo(jnp.float32).min)
    probabilities = jax.nn.softmax(scores, axis=-1)
    drop_key = key if rate else None
    if drop_key is not None:  # what is kept is scaled after the products, where there is less of it
        probabilities = jnp.where(dropout_mask(probabilities.shape, rate, drop_key), probabilities, 0)
    out = jnp.einsum("bnlm,bmng->blng", probabilities.astype(v.dtype), v)
    if relative is not None:
        by_distance = collect(probabilities, table.shape[0]).astype(v.dtype)
        out += jnp.einsum("bnld,dg->blng", by_distance, table)
    return out if drop_key is None else out / (1 - rate)


def spread(by_distance: jax.Array) -> jax.Array:
    """[B, N, L, 2K+1] by clipped distance → [B, N, L, L] by key."""
    length, k = by_distance.shape[2], by_distance.shape[3] // 2
    rows = jnp.clip(jnp.arange(length)[None, :] - jnp.arange(length)[:, None], -k, k) + k
    return jnp.take_along_axis(by_distance, rows[None, None], axis=3)


def collect(probabilities: jax.Array, distances: int) -> jax.Array:
    """[B, N, L, L] by key → [B, N, L, 2K+1] summed by clipped distance; the transpose of `spread`."""
    shape = (*probabilities.shape[:3], distances)
    return jax.linear_transpose(spread, jax.ShapeDtypeStruct(shape, probabilities.dtype))(probabilities)[0]
