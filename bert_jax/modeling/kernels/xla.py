"""The reference kernel: plain XLA on any device, with dropout and all additions. Memory is O(L²) for each head."""

import jax
import jax.numpy as jnp

from bert_jax.modeling.kernels import Addition, Bias, Columns, Kernel, Products, Request, Vectors
from bert_jax.modeling.layers import dropout_mask
from bert_jax.modeling.visibility import Visibility


def build() -> Kernel:
    """The kernel; it has no options."""
    return Kernel(unsupported, attend, preference={"any": 0})


def unsupported(request: Request) -> str | None:
    """None, or why not."""
    if request.needs == "sinusoids":
        return "xla takes sinusoids of distances as a table of vectors or as wider heads"
    if request.elsewhere and request.needs not in ("nothing", "columns"):
        return "xla takes vectors, biases and products by distance for queries at all places of a row"
    return None


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
) -> jax.Array:
    """q [B, P, N, H], k [B, L, N, H], v [B, L, N, G] → [B, P, N, G].

    Args:
      scale: of the scores, usually 1/√H of the model's heads.
      addition: what carries the position scheme; see `unsupported` for the limits.
      rate: share of the probabilities that dropout zeroes, given a `key`.
    """
    if isinstance(addition, Columns):
        q, beside = jnp.split(q, [k.shape[-1]], axis=-1)
        columns = addition.table.astype(q.dtype)
    scores = jnp.einsum("blnh,bmnh->bnlm", q, k, preferred_element_type=jnp.float32)
    if isinstance(addition, Columns):
        beside = jnp.swapaxes(beside, 1, 2)
        scores += jnp.einsum("bnlh,mh->bnlm", beside, columns, preferred_element_type=jnp.float32)
    if isinstance(addition, Vectors):
        table = addition.table.astype(q.dtype)
        scores += spread(jnp.einsum("blnh,dh->bnld", q, table, preferred_element_type=jnp.float32))
    if isinstance(addition, Products):
        scores += products(q, k, addition)
    scores *= scale
    if isinstance(addition, Bias):
        scores += biases(addition.by_distance, q.shape[1])
    seen = visibility.mask()[:, None]
    probabilities = jax.nn.softmax(jnp.where(seen, scores, jnp.finfo(jnp.float32).min), axis=-1)
    if visibility.ranked:  # there may be queries that see nothing
        probabilities = jnp.where(seen, probabilities, 0)
    drop_key = key if rate else None
    if drop_key is not None:  # scaled after the product, where the array is smaller
        probabilities = jnp.where(dropout_mask(probabilities.shape, rate, drop_key), probabilities, 0)
    out = jnp.einsum("bnlm,bmng->blng", probabilities.astype(v.dtype), v)
    if isinstance(addition, Columns):
        sums = jnp.einsum("bnlm,mh->bnlh", probabilities.astype(v.dtype), columns)
        out = jnp.concatenate([out, jnp.swapaxes(sums, 1, 2)], -1)
    if isinstance(addition, Vectors):
        by_distance = collect(probabilities, table.shape[0]).astype(v.dtype)
        out += jnp.einsum("bnld,dg->blng", by_distance, table)
    return out if drop_key is None else out / (1 - rate)


def spread(by_distance: jax.Array) -> jax.Array:
    """[B, N, L, 2K+1] by clipped distance → [B, N, L, L] by key."""
    rows = distances(by_distance.shape[2], by_distance.shape[3])
    return jnp.take_along_axis(by_distance, rows[None, None], axis=3)


def biases(by_distance: jax.Array, length: int) -> jax.Array:
    """[N, 2K+1] by clipped distance → [N, L, L] by query and key."""
    return by_distance[:, distances(length, by_distance.shape[1])]


def products(q: jax.Array, k: jax.Array, addition: Products) -> jax.Array:
    """q, k [B, L, N, H] → float32 [B, N, L, L] by query and key."""
    rows = addition.rows[distances(q.shape[1], addition.rows.shape[0])][None, None]
    total = jnp.zeros((), jnp.float32)
    if addition.keys is not None:
        by_row = jnp.einsum("blnh,rnh->bnlr", q, addition.keys, preferred_element_type=jnp.float32)
        total += jnp.take_along_axis(by_row, rows, axis=3)
    if addition.queries is not None:
        by_row = jnp.einsum("bmnh,rnh->bnrm", k, addition.queries, preferred_element_type=jnp.float32)
        total += jnp.take_along_axis(by_row, rows, axis=2)
    return total


def distances(length: int, columns: int) -> jax.Array:
    """int [L, L] by query and key: which of 2K + 1 columns their clipped distance has."""
    k = columns // 2
    return jnp.clip(jnp.arange(length)[None, :] - jnp.arange(length)[:, None], -k, k) + k


def collect(probabilities: jax.Array, distances: int) -> jax.Array:
    """[B, N, L, L] by key → [B, N, L, 2K+1] summed by clipped distance; the transpose of `spread`."""
    shape = (*probabilities.shape[:3], distances)
    return jax.linear_transpose(spread, jax.ShapeDtypeStruct(shape, probabilities.dtype))(probabilities)[0]
