"""JAX's splash attention for TPU, a Pallas kernel: segments and windows in O(L) memory, no dropout."""

import functools

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask

from bert_jax.modeling.kernels import Addition, Kernel, Request
from bert_jax.modeling.kernels._mesh import over_mesh
from bert_jax.modeling.visibility import Visibility

LANES = 128  # blocks are multiples of this; rows of other lengths are padded with segments of their own
LARGEST_BLOCK = 1024
LARGEST_WIDE_BLOCK = 512  # of float32 and of heads of more than LANES, so that v4's 16 MiB on the chip suffice
# The fixed cost of a step of the kernel, in pairs of a query and a key: about 300² by the instruction words that the
# compiler schedules on v5e for blocks of 256, 512 and 1,024; the rest is the start of a step, which they leave out.
START = 400**2


def build(*, interpret: bool = False) -> Kernel:
    """The kernel.

    Args:
      interpret: run it step by step on any device, for tests.
    """
    return Kernel(
        functools.partial(unsupported, interpret=interpret),
        functools.partial(attend, interpret=interpret),
        preference={"tpu": 2},
    )


def unsupported(request: Request, *, interpret: bool = False) -> str | None:
    """None, or why not."""
    if request.platform != "tpu" and not interpret:
        return f"splash runs on TPU, not on {request.platform}"
    if request.dropout:
        return "splash has no dropout on the attention probabilities (config.model.attention_dropout=0 turns it off)"
    if request.ranks:
        return "splash takes no order of keys but both directions"
    if request.elsewhere and request.window is not None:
        return "splash takes windows for queries at all places of a row"
    if request.needs != "nothing":
        return f"splash takes no {request.needs} by distance, which these positions need"
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
    interpret: bool = False,
) -> jax.Array:
    """q [B, P, N, H], k [B, L, N, H], v [B, L, N, G] → [B, P, N, G].

    Arguments as of `xla.attend`; see `unsupported` for its limits.
    """
    assert addition is None
    assert rate == 0 or key is None
    rows = over_mesh(functools.partial(_attend, interpret=interpret))
    return rows((q * scale).astype(q.dtype), k, v, visibility)


def _attend(q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility, *, interpret: bool) -> jax.Array:
    """As `attend`, on one device, for queries that are scaled already."""
    queries = q.shape[1]
    heads_first = lambda x: jnp.swapaxes(_pad(x, 0), 1, 2)
    ids = splash.SegmentIds(q=_pad(visibility.query_segments, -1), kv=_pad(visibility.key_segments, -1))
    size = (ids.q.shape[1], ids.kv.shape[1])
    reach = visibility.window
    of_head = (
        splash_attention_mask.FullMask(size)
        if reach is None
        else splash_attention_mask.LocalMask(size, (reach, reach), offset=0)
    )
    mask = splash_attention_mask.MultiHeadMask([of_head] * q.shape[2])
    blocks = block_sizes(*size, reach, q.shape[-1], q.dtype)
    kernel = splash.make_splash_mha(mask, block_sizes=blocks, head_shards=1, q_seq_shards=1, interpret=interpret)
    out = jax.vmap(kernel)(heads_first(q), heads_first(k), heads_first(v), ids)
    return jnp.swapaxes(out, 1, 2)[:, :queries]


def _pad(x: jax.Array, value: int) -> jax.Array:
    """x [B, L, ...] with `value` up to the next multiple of LANES on axis 1."""
    missing = -x.shape[1] % LANES
    return jnp.pad(x, ((0, 0), (0, missing)) + ((0, 0),) * (x.ndim - 2), constant_values=value)


def block_sizes(
    queries: int, keys: int, window: int | None, head_size: int, dtype: jax.typing.DTypeLike
) -> splash.BlockSizes:
    """The largest blocks; for the gradients one kernel where a row is one block of keys, and two where it has several.

    The one computes the probabilities once, but writes the queries' gradient for each block of keys, whole, whatever
    the window: O(L²) memory and traffic.
    """
    largest = LARGEST_WIDE_BLOCK if jnp.dtype(dtype).itemsize > 2 or head_size > LANES else LARGEST_BLOCK
    if window is None:
        q, kv = _sizes(queries, largest)[-1], _sizes(keys, largest)[-1]
    else:
        q = kv = min(_sizes(keys, largest), key=lambda size: _cost(keys, size, window))
    single = kv == keys
    return splash.BlockSizes(
        block_q=q,
        block_kv=kv,
        block_kv_compute=kv,
        block_q_dkv=q,
        block_kv_dkv=kv,
        block_kv_dkv_compute=kv,
        block_q_dq=None if single else q,
        block_kv_dq=None if single else kv,
        use_fused_bwd_kernel=single,
    )


def _sizes(length: int, largest: int) -> list[int]:
    """The multiples of LANES up to `largest` that divide `length`."""
    return [size for size in range(LANES, largest + 1, LANES) if length % size == 0]


def _cost(length: int, size: int, window: int) -> float:
    """Cost of attention within a window in blocks of `size`, forward and backward, in pairs of a query and a key."""
    products = 7 if size == length else 9  # of two backward kernels, each computes the scores
    return pairs_of_blocks(length, size, window) * products * (size**2 + START)


def pairs_of_blocks(length: int, size: int, window: int) -> int:
    """Pairs of a block of queries and a block of keys, both of `size`, in which a query sees a key."""
    blocks, beside = length // size, (window + size - 1) // size  # and blocks that the window reaches to one side
    return blocks + 2 * sum(blocks - distance for distance in range(1, min(beside, blocks - 1) + 1))
