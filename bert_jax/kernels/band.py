"""Our Pallas kernel for relative sinusoids clipped at a distance K (NEZHA), on TPU: O(L) memory, no dropout.

With S_j the sinusoid of position j and T that of the shifted distance, the score of query i and key j is

    q_i·k_j + q_i·T[clip(j − i, −K, K) + K]

Inside the band |j − i| ≤ K the second term is q̃_i·S_j, where q̃_i is q_i turned back by the angles of i − K, so it
is one more matrix product; left and right of the band it is one number for each query, q_i·T[0] and q_i·T[2K]. Values
are the mirror image: Σ P_ij S_j over the band, turned forward by the angles of i − K, and the sums of P_ij left and
right of it times T[0] and T[2K].

A step of the kernel takes a block of queries of one head and all its keys: the products with S cover the keys that
the block's band can reach, and nothing of size [L, L] leaves the chip's own memory. The backward pass computes the
probabilities again, so that q, k, v are all that is kept.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from bert_jax.kernels import Kernel, Relative, Request
from bert_jax.kernels._mesh import over_mesh
from bert_jax.positions.functional_relative import sinusoids

LANES = 128  # of a TPU's registers; a block of queries, and the steps in which its window of keys moves
LONGEST = 2048  # tokens: scores of a block of queries, and keys and values of a head, fit in 16 MiB
HIDDEN = -1e30  # the score of a key of another document: far below any other, yet finite


def build(*, interpret: bool = False, block: int = LANES) -> Kernel:
    """The kernel.

    Args:
      interpret: run it step by step on any device, for tests.
      block: queries that are computed at a time; a multiple of 128 on TPU.
    """
    return Kernel(
        functools.partial(refuse, interpret=interpret),
        functools.partial(attend, interpret=interpret, block=block),
    )


def refuse(request: Request, *, interpret: bool = False) -> str | None:
    """None, or why not."""
    if request.platform != "tpu" and not interpret:
        return f"band runs on TPU, not on {request.platform}"
    if request.relative != "sinusoid":
        return "band is for relative sinusoids clipped at a distance (positions functional_relative with max_distance)"
    if request.dropout:
        return "band has no dropout on the attention probabilities (config.model.attention_dropout=0 turns it off)"
    if request.length > LONGEST:
        return f"band takes rows of up to {LONGEST} tokens, not of {request.length}"
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
    interpret: bool = False,
    block: int = LANES,
) -> jax.Array:
    """q, k, v [B, L, N, H], segments [B, L] → [B, L, N, H]; `refuse` tells what must not be asked."""
    assert relative is not None
    assert relative.sinusoid
    assert rate == 0 or key is None
    length, distance = q.shape[1], relative.table.shape[0] // 2
    size = -(-length // block) * block
    band = Band(scale, distance, size, min(block, size), interpret)
    pad = lambda x, value: jnp.pad(x, ((0, 0), (0, size - length)) + ((0, 0),) * (x.ndim - 2), constant_values=value)
    rows = over_mesh(lambda q, k, v, segments, _: _attend(band, q, k, v, segments))
    segments = pad(segments, -1)  # what is added sees itself alone
    return rows(pad(q, 0), pad(k, 0), pad(v, 0), segments, segments)[:, :length]


class Band(NamedTuple):
    """The sizes of one call."""

    scale: float
    distance: int  # K
    length: int  # L, a multiple of `block`
    block: int  # queries at a time
    interpret: bool

    @property
    def reach(self) -> int:
        """How far the band stands out of a block of queries, in whole blocks."""
        return -(-self.distance // self.block) * self.block

    @property
    def window(self) -> int:
        """Keys that the band of a block of queries can touch."""
        return min(self.length, self.block + 2 * self.reach)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(band: Band, q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array) -> jax.Array:
    out = _call(band, _forward, segments, [_heads_first(x) for x in (q, k, v)], results=1)
    return _heads_first(out[0])


def _save(band: Band, q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array) -> tuple[jax.Array, tuple]:
    return _attend(band, q, k, v, segments), (q, k, v, segments)


def _pull(band: Band, saved: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    *arrays, segments = saved
    arrays = [_heads_first(x) for x in (*arrays, gradient.astype(arrays[0].dtype))]
    dq, dk, dv = _call(band, _backward, segments, arrays, results=3)
    return _heads_first(dq), _heads_first(dk), _heads_first(dv), None


_attend.defvjp(_save, _pull)


def _heads_first(x: jax.Array) -> jax.Array:
    """[B, L, N, H] ↔ [B, N, L, H]."""
    return jnp.swapaxes(x, 1, 2)


def _call(band: Band, body: Callable, segments: jax.Array, arrays: list[jax.Array], results: int) -> list[jax.Array]:
    """Runs `body` for every row, head and block of queries, in this order.

    Args:
      arrays: [B, N, L, H] each: q, k, v and, for the backward pass, the output's gradient.
      results: 1 for the output, 3 for the gradients of q, k, v; [B, N, L, H] each, as `arrays`.
    """
    rows, heads, length, size = arrays[0].shape
    dtype = arrays[0].dtype
    queries = pl.BlockSpec((None, None, band.block, size), lambda b, n, i: (b, n, i, 0))
    keys = pl.BlockSpec((None, None, length, size), lambda b, n, i: (b, n, 0, 0))
    whole = lambda x: pl.BlockSpec(x.shape, lambda b, n, i: (0, 0))
    constants = _constants(band, size, dtype)
    backward = results == 3
    steps = rows * heads * length // band.block
    products = (5 * length + 3 * band.window) if backward else (2 * length + 2 * band.window)
    return pl.pallas_call(
        functools.partial(body, band),
        grid=(rows, heads, length // band.block),
        in_specs=[
            pl.BlockSpec((None, band.block, 1), lambda b, n, i: (b, i, 0)),
            pl.BlockSpec((None, 1, length), lambda b, n, i: (b, 0, 0)),
            *map(whole, constants),
            *[queries, keys, keys, queries][: len(arrays)],
        ],
        out_specs=[queries, keys, keys][:results],
        out_shape=[jax.ShapeDtypeStruct(arrays[0].shape, dtype)] * results,
        scratch_shapes=[pltpu.VMEM((band.block, length), jnp.float32)] * (1 + backward)
        + [pltpu.VMEM((length, size), jnp.float32)] * (2 * backward),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary")),
        cost_estimate=pl.CostEstimate(
            flops=2 * steps * band.block * products * size,
            transcendentals=steps * band.block * length,
            bytes_accessed=(len(arrays) + results) * arrays[0].nbytes,
        ),
        interpret=band.interpret,
        name="band_backward" if backward else "band_forward",
    )(segments[:, :, None], segments[:, None, :], *constants, *arrays)


def _constants(band: Band, size: int, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """S [L, H] of the keys; cosines and signed sines [L, H] that turn queries; T[0] and T[2K] as [2, H]."""
    positions = jnp.arange(band.length)
    turns = sinusoids(positions - band.distance, size)
    sines, cosines = turns[:, 0::2], turns[:, 1::2]
    interleave = lambda even, odd: jnp.stack([even, odd], -1).reshape(turns.shape)
    ends = sinusoids(jnp.array([0, 2 * band.distance]), size)
    return sinusoids(positions, size).astype(dtype), interleave(cosines, cosines), interleave(sines, -sines), ends


class _Block:
    """One block of queries inside the kernel: where its band lies, and how its queries turn."""

    def __init__(self, band: Band, keys, cosines, sines, ends):
        start = pl.program_id(2) * band.block
        first = jnp.clip(start - band.reach, 0, band.length - band.window)
        here = pl.ds(pl.multiple_of(start, band.block), band.block)
        self.window = pl.ds(pl.multiple_of(first, band.block), band.window)
        self.keys = keys[self.window, :]  # [W, H]
        self.cosines, self.sines = cosines[here, :], sines[here, :]
        self.first, self.last = ends[0:1, :], ends[1:2, :]
        self.distance = band.distance
        self.apart = _apart(start, 0, band.block, band.length)  # [block, L]: key − query
        self.apart_near = _apart(start, first, band.block, band.window)

    def back(self, x):
        """float32 [block, H] turned back by the angles of i − K."""
        return x * self.cosines + _swap(x) * self.sines

    def forth(self, x):
        """float32 [block, H] turned forward by the angles of i − K; the transpose of `back`."""
        return x * self.cosines - _swap(x) * self.sines

    def add_relative(self, ref, x, dtype):
        """Adds to ref [block, L] the products of x, float32 [block, H], with the relative vectors of all pairs."""
        left, right = (jnp.sum(x * end, -1, keepdims=True) for end in (self.first, self.last))
        inside = _dot(self.back(x).astype(dtype), self.keys, 1, 1)
        outside = lambda apart: jnp.where(apart < 0, left, right)
        near = ref[:, self.window] + jnp.where(self._in_band(), inside, outside(self.apart_near))
        ref[...] += outside(self.apart)
        ref[:, self.window] = near

    def sum_relative(self, ref, dtype):
        """The sum over keys of the weights in ref [block, L] times the relative vectors: float32 [block, H]."""
        inside = jnp.where(self._in_band(), ref[:, self.window], 0).astype(dtype)
        left = jnp.sum(jnp.where(self.apart < -self.distance, ref[...], 0), -1, keepdims=True)
        right = jnp.sum(jnp.where(self.apart > self.distance, ref[...], 0), -1, keepdims=True)
        return self.forth(_dot(inside, self.keys, 1, 0)) + left * self.first + right * self.last

    def _in_band(self):
        return jnp.abs(self.apart_near) <= self.distance


def _forward(band, q_segments, k_segments, keys, cosines, sines, ends, q, k, v, out, scores):
    block = _Block(band, keys, cosines, sines, ends)
    weights, total, _ = _weights(band, block, q_segments, k_segments, q, k, scores)
    scores[...] = weights
    summed = _dot(weights.astype(v.dtype), v[...], 1, 0) + block.sum_relative(scores, v.dtype)
    out[...] = (summed / total).astype(out.dtype)


def _backward(
    band,
    q_segments,
    k_segments,
    keys,
    cosines,
    sines,
    ends,
    q,
    k,
    v,
    gradient,
    dq,
    dk,
    dv,
    scores,
    slopes,
    dk_sum,
    dv_sum,
):
    block = _Block(band, keys, cosines, sines, ends)
    weights, total, scaled = _weights(band, block, q_segments, k_segments, q, k, scores)
    p = weights / total
    slopes[...] = _dot(gradient[...], v[...], 1, 1)
    block.add_relative(slopes, gradient[...].astype(jnp.float32), v.dtype)
    dp = slopes[...]
    ds = p * (dp - jnp.sum(p * dp, -1, keepdims=True))
    slopes[...] = ds
    ds = ds.astype(k.dtype)
    dq[...] = (band.scale * (_dot(ds, k[...], 1, 0) + block.sum_relative(slopes, k.dtype))).astype(dq.dtype)

    @pl.when(pl.program_id(2) == 0)
    def _():
        dk_sum[...] = jnp.zeros_like(dk_sum)
        dv_sum[...] = jnp.zeros_like(dv_sum)

    dk_sum[...] += _dot(ds, scaled, 0, 0)
    dv_sum[...] += _dot(p.astype(v.dtype), gradient[...], 0, 0)

    @pl.when(pl.program_id(2) == pl.num_programs(2) - 1)
    def _():
        dk[...] = dk_sum[...].astype(dk.dtype)
        dv[...] = dv_sum[...].astype(dv.dtype)


def _weights(band, block, q_segments, k_segments, q, k, scores):
    """Through `scores`: e^(score − largest) [block, L], its sum over keys [block, 1], and the scaled queries."""
    scaled = q[...].astype(jnp.float32) * band.scale
    queries = scaled.astype(q.dtype)
    scores[...] = _dot(queries, k[...], 1, 1)
    block.add_relative(scores, scaled, q.dtype)
    masked = jnp.where(q_segments[...] == k_segments[...], scores[...], HIDDEN)
    weights = jnp.exp(masked - jnp.max(masked, -1, keepdims=True))
    return weights, jnp.sum(weights, -1, keepdims=True), queries


def _dot(a, b, a_axis, b_axis):
    """Contracts one axis of a with one of b, in float32."""
    return jax.lax.dot_general(a, b, (((a_axis,), (b_axis,)), ((), ())), preferred_element_type=jnp.float32)


def _swap(x):
    """Exchanges the two of each pair (2m, 2m + 1) of the last axis."""
    size = x.shape[1]
    even = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1) % 2 == 0
    return jnp.where(even, pltpu.roll(x, size - 1, 1), pltpu.roll(x, 1, 1))


def _apart(query, key, queries, keys):
    """int32 [queries, keys]: key − query, from these first ones on."""
    row = jax.lax.broadcasted_iota(jnp.int32, (queries, keys), 0)
    column = jax.lax.broadcasted_iota(jnp.int32, (queries, keys), 1)
    return column - row + (key - query)
