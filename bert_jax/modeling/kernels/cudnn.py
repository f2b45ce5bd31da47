"""cuDNN's fused attention for NVIDIA GPUs, through JAX: 16-bit floats, no dropout. Its mask is O(L²) for each row.

Windows are in the mask too: JAX offers cuDNN's own (`local_window_size`) to the left of the query alone.
"""

import jax
import jax.numpy as jnp

from bert_jax.modeling.kernels import Addition, Kernel, Request
from bert_jax.modeling.visibility import Visibility

QUERIES = 8  # their number is filled up to a multiple of it
LARGEST_HEAD = 128  # what every GPU that has the kernel takes; Hopper and later take 256


def build() -> Kernel:
    """The kernel; it has no options."""
    return Kernel(unsupported, attend, preference={"gpu": 1})


def unsupported(request: Request) -> str | None:
    """None, or why not."""
    if request.platform != "gpu":
        return f"cudnn runs on NVIDIA GPUs, not on {request.platform}"
    if request.dtype not in ("bfloat16", "float16"):
        return f"cudnn computes in 16-bit floats, not in {request.dtype} (config.model.dtype='bfloat16')"
    if request.dropout:
        return "cudnn has no dropout on the attention probabilities (config.model.attention_dropout=0 turns it off)"
    if request.head_size % 8 or request.head_size > LARGEST_HEAD:
        return f"cudnn takes heads of a multiple of 8 up to {LARGEST_HEAD}, not of {request.head_size}"
    if request.length % 2:
        return f"cudnn takes rows of an even length, not of {request.length}"
    if request.needs != "nothing":
        return f"cudnn takes no {request.needs} by distance, which these positions need"
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
    """q [B, P, N, H], k, v [B, L, N, H] → [B, P, N, H]; see `unsupported` for its limits."""
    assert addition is None
    assert rate == 0 or key is None
    seen = visibility.mask()
    places = q.shape[1]
    if more := -places % QUERIES:
        q = jnp.pad(q, ((0, 0), (0, more), (0, 0), (0, 0)))
        seen = jnp.pad(seen, ((0, 0), (0, more), (0, 0)), constant_values=True)
    out = jax.nn.dot_product_attention(q, k, v, mask=seen[:, None], scale=scale, implementation="cudnn")[:, :places]
    seen = seen[:, :places]
    if not visibility.ranked:
        return out
    return jnp.where(seen.any(-1)[:, :, None, None], out, 0)  # there may be queries that see nothing
