"""Attention within a window in plain XLA, in O(L · window) time and memory: segments and dropout.

Queries are taken in blocks, each against the keys of its own block and of so many to each side as the window reaches
into. Each block is then a row of its own for the reference kernel, which does the rest.
"""

import functools

import jax
import jax.numpy as jnp

from bert_jax.modeling.kernels import Addition, Kernel, Request, xla
from bert_jax.modeling.visibility import Visibility

SMALLEST = 32  # queries in a block: products of fewer rows are slow
SHORTEST = 2  # how many times as long as the keys of a block a row must be to gain from blocks
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
    """q, k [B, L, N, H], v [B, L, N, G] → [B, L, N, G]; `unsupported` tells what must not be asked.

    Queries at some places alone, q [B, P, N, H], meet all keys: they are few.
    """
    assert addition is None
    assert visibility.window is not None
    assert not visibility.ranked
    if visibility.query_places is not None:
        return xla.attend(q, k, v, visibility, scale=scale, rate=rate, key=key)
    rows, length = q.shape[:2]
    size, beside = blocks(visibility.window, block)
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
    out = xla.attend(_flat(split(q)), around(k), around(v), seeing, scale=scale, rate=rate, key=key)
    return out.reshape(rows, number * size, *out.shape[2:])[:, :length]


def _flat(x: jax.Array) -> jax.Array:
    """[B, blocks, ...] → [B · blocks, ...]."""
    return x.reshape(-1, *x.shape[2:])


def _pad(x: jax.Array, axis: int, widths: tuple[int, int], value: int) -> jax.Array:
    """x with so many of `value` before and after an axis."""
    return jnp.pad(x, [widths if i == axis else (0, 0) for i in range(x.ndim)], constant_values=value)
