"""Attention within a window in plain XLA, in O(L · window) time and memory: segments and dropout.

Queries are taken in blocks, each against the keys of its own block and of the blocks to each side that the window
reaches. Each block is then a row of its own for the reference kernel, which does the rest.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.modeling.kernels import Addition, Kernel, Request, xla
from bert_jax.modeling.visibility import Visibility

SMALLEST = 32  # queries in a block: products of fewer rows are slow
SHORTEST = 2  # blocks gain in rows at least this many times as long as the keys of a block
SHORTEST_GPU = 8  # beside cuDNN's fused kernel, by an estimate of its products and of the memory that scores move


def build(*, block: int = 0) -> Kernel:
    """The kernel.

    Args:
      block: queries in a block; 0 for as many as the window has to one side, and at least 32.
    """
    return Kernel(
        functools.partial(unsupported, block=block),
        functools.partial(attend, block=block),
        preference={"cpu": 1, "gpu": 2},
    )


def unsupported(request: Request, *, block: int = 0) -> str | None:
    """None, or why not."""
    if request.window is None:
        return "blocks attends within windows alone (config.model.window)"
    if request.ranks:
        return "blocks takes no order of keys but both directions"
    if request.needs != "nothing":
        return f"blocks takes no {request.needs} by distance, which these positions need"
    size, beside = blocks(request.window, block)
    keys, times = size * (2 * beside + 1), SHORTEST_GPU if request.platform == "gpu" else SHORTEST
    if request.length < times * keys:
        return f"blocks takes rows of at least {times} times the {keys} keys of a block, not of {request.length} tokens"
    return None


def blocks(window: int, block: int = 0) -> tuple[int, int]:
    """Queries in a block, and blocks to each side that a window reaches into."""
    size = block or max(window, SMALLEST)
    return size, -(-window // size)


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
    block: int = 0,
) -> jax.Array:
    """q [B, P, N, H], k [B, L, N, H], v [B, L, N, G] → [B, P, N, G]; see `unsupported` for its limits."""
    assert addition is None
    assert visibility.window is not None
    assert not visibility.ranked
    how: dict[str, Any] = {"scale": scale, "rate": rate, "key": key}
    size, beside = blocks(visibility.window, block)
    places = visibility.query_places
    if places is None:
        return _attend(q, k, v, visibility, size, beside, how)
    if q.shape[1] <= size * (2 * beside + 1):  # no more scores than blocks have
        return xla.attend(q, k, v, visibility, **how)
    spread, segments = _spread((q, visibility.query_segments), places, k.shape[1])
    seeing = dataclasses.replace(visibility, query_segments=segments, query_places=None)
    out = _attend(spread, k, v, seeing, size, beside, how)
    return jnp.take_along_axis(out, places[:, :, None, None], axis=1)


def _attend(
    q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility, size: int, beside: int, how: dict[str, Any]
) -> jax.Array:
    """`attend` for queries at all places, [B, L, N, H], in blocks of `size`, each with `beside` blocks to each side."""
    rows, length = q.shape[:2]
    number = -(-length // size)

    def split(x: jax.Array, hidden: int = 0) -> jax.Array:
        """[B, L, ...] → [B, blocks, size, ...], padded with `hidden`."""
        padded = _pad(x, 1, (0, number * size - length), hidden)
        return padded.reshape(rows, number, size, *x.shape[2:])

    def around(x: jax.Array, hidden: int = 0) -> jax.Array:
        """[B, L, ...] → [B · blocks, keys of a block, ...]."""
        padded = _pad(split(x, hidden), 1, (beside, beside), hidden)
        near = [padded[:, i : i + number] for i in range(2 * beside + 1)]
        return _flat(jnp.concatenate(near, axis=2))

    seeing = Visibility(
        _flat(split(visibility.query_segments, -1)),
        around(visibility.key_segments, -1),
        query_places=beside * size + jnp.arange(size)[None],
        window=visibility.window,
    )
    out = xla.attend(_flat(split(q)), around(k), around(v), seeing, **how)
    return out.reshape(rows, number * size, *out.shape[2:])[:, :length]


def _spread(arrays: tuple[jax.Array, ...], places: jax.Array, length: int) -> list[jax.Array]:
    """[B, P, ...] each at its place [B, P] of a row, [B, L, ...]; what stands at the other places is arbitrary.

    Of several with one place, which are alike, one is taken.
    """
    number = jnp.arange(places.shape[1], dtype=jnp.int32)
    slot = jax.vmap(lambda places: jnp.zeros(length, jnp.int32).at[places].set(number))(places)
    return [jnp.take_along_axis(x, slot.reshape(*slot.shape, *[1] * (x.ndim - 2)), axis=1) for x in arrays]


def _flat(x: jax.Array) -> jax.Array:
    """[B, blocks, ...] → [B · blocks, ...]."""
    return x.reshape(-1, *x.shape[2:])


def _pad(x: jax.Array, axis: int, widths: tuple[int, int], value: int) -> jax.Array:
    """x padded with `value` before and after an axis."""
    return jnp.pad(x, [widths if i == axis else (0, 0) for i in range(x.ndim)], constant_values=value)
