"""cuDNN's fused attention for NVIDIA GPUs, through JAX: 16-bit floats, no dropout. Its mask is O(L²) for each row."""

import jax

from bert_jax.modeling.kernels import Kernel, Relative, Request

LARGEST_HEAD = 128  # what every GPU that has the kernel takes; Hopper and later take 256


def build() -> Kernel:
    """The kernel; it has no options."""
    return Kernel(unsupported, attend)


def unsupported(request: Request) -> str | None:
    """None, or why not."""
    if request.platform != "gpu":
        return f"cudnn runs on NVIDIA GPUs, not on {request.platform}"
    if request.dtype not in ("bfloat16", "float16"):
        return f"cudnn computes in 16-bit floats, not in {request.dtype} (config.model.dtype='bfloat16')"
    if request.dropout:
        return "cudnn has no dropout on the attention probabilities (config.model.attention_dropout=0 turns it off)"
    if request.relative:
        return "cudnn takes no relative vectors, which positions clipped at a distance need"
    if request.head_size % 8 or request.head_size > LARGEST_HEAD:
        return f"cudnn takes heads of a multiple of 8 up to {LARGEST_HEAD}, not of {request.head_size}"
    if request.length % 2:
        return f"cudnn takes rows of an even length, not of {request.length}"
    return None


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    segments: jax.Array,
    *,
    scale: float,
    relative: Relative | None = None,
    rate: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """q, k [B, L, N, H], v [B, L, N, H], segments [B, L] → [B, L, N, H]; `unsupported` tells what must not be asked."""
    assert relative is None
    assert rate == 0 or key is None
    same = segments[:, None, :, None] == segments[:, None, None, :]  # [B, 1, L, L]: no copy for each head
    return jax.nn.dot_product_attention(q, k, v, mask=same, scale=scale, implementation="cudnn")
