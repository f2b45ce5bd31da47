"""An attention kernel outside the package: windows alone, by one product for each distance, in O(L · window)."""

import jax
import jax.numpy as jnp

from bert_jax.modeling.kernels import Addition, Kernel, Request
from bert_jax.modeling.visibility import Visibility


def build() -> Kernel:
    """The kernel; it has no options."""
    return Kernel(unsupported, attend, preference={})


def unsupported(request: Request) -> str | None:
    """None, or why not."""
    if request.window is None:
        return "near is for windows"
    if request.dropout or request.ranks or request.elsewhere or request.needs != "nothing":
        return "near takes a window and nothing else"
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
    """As `bert_jax.modeling.kernels` says."""
    assert addition is None
    assert rate == 0 or key is None
    assert visibility.window is not None
    distances = range(-visibility.window, visibility.window + 1)
    scores = jnp.stack([(q * shifted(k, d)).sum(-1) for d in distances], -1) * scale  # [B, L, N, W]
    segments = jnp.stack([shifted(visibility.key_segments + 1, d) - 1 for d in distances], -1)
    seen = (segments == visibility.query_segments[:, :, None])[:, :, None]
    probabilities = jax.nn.softmax(jnp.where(seen, scores, jnp.finfo(scores.dtype).min), -1)
    return sum(probabilities[..., i, None] * shifted(v, d) for i, d in enumerate(distances))


def shifted(x: jax.Array, distance: int) -> jax.Array:
    """x [B, L, ...] → at place i what stood at i + distance, zeros beyond both ends."""
    length = x.shape[1]
    padded = jnp.pad(x, ((0, 0), (abs(distance), abs(distance))) + ((0, 0),) * (x.ndim - 2))
    return jax.lax.dynamic_slice_in_dim(padded, abs(distance) + distance, length, axis=1)
