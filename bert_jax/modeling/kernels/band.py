"""Our Pallas kernel for relative sinusoids, clipped at a distance K or not (NEZHA), on TPU: O(L) memory, no dropout.

With S_j the sinusoid of position j and T that of the distance, shifted by K as released checkpoints do, the score of
query i and key j is

    q_i·k_j + q_i·T[clip(j − i, −K, K) + K]

Inside the band |j − i| ≤ K the second term is q̃_i·S_j, where q̃_i is q_i turned back by the angles of i − K, so it
is one more matrix product; left and right of the band it is one number for each query, q_i·T[0] and q_i·T[2K]. Values
are the mirror image: Σ P_ij S_j over the band, turned forward by the angles of i − K, and the sums of P_ij left and
right of it times T[0] and T[2K].

Without clipping all is band and nothing is shifted. Then q and q̃ side by side meet k and S side by side in one product,
and P meets v and S: ordinary attention with heads twice as wide, which costs a TPU no more as long as they fill at most
its 128 lanes, and wide heads never leave on-chip memory.

A step of the kernel takes one head of one row, block of queries by block, each against all keys. Which tiles of
128 keys lie left of a block's band, in it or right of it is known when the kernel is written out, so that only tiles
on the band's edge pay for the choice, and tiles outside for no product with S. Nothing of size [L, L] leaves the
chip's own memory. The backward pass computes the probabilities again, so that q, k, v are all that is kept.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from bert_jax.modeling.kernels import Addition, Kernel, Request, Sinusoids
from bert_jax.modeling.kernels._mesh import over_mesh
from bert_jax.modeling.positions._sinusoids import sinusoids
from bert_jax.modeling.visibility import Visibility

LANES = 128  # of a TPU's registers: queries in a block and keys in a tile
LONGEST = 1024  # tokens: what a head needs, also in float32 at head size 128, fits in 16 MiB
HIDDEN = -1e30  # the score of a key of another document: far below any other, yet finite


def build(*, interpret: bool = False, block: int = LANES) -> Kernel:
    """The kernel.

    Args:
      interpret: run it step by step on any device, for tests.
      block: queries that are computed at a time; a multiple of 128 on TPU.
    """
    return Kernel(
        functools.partial(unsupported, interpret=interpret),
        functools.partial(attend, interpret=interpret, block=block),
        preference={"tpu": 2},
    )


def unsupported(request: Request, *, interpret: bool = False) -> str | None:
    """None, or why not."""
    if request.platform != "tpu" and not interpret:
        return f"band runs on TPU, not on {request.platform}"
    if request.ranks or request.window is not None:
        return "band takes neither windows nor an order of keys"
    if request.elsewhere:
        return "band takes queries at all places of a row"
    if request.dropout:
        return "band has no dropout on the attention probabilities (config.model.attention_dropout=0 turns it off)"
    if request.length > LONGEST:
        return f"band takes rows of up to {LONGEST} tokens, not of {request.length}"
    if request.needs != "sinusoids":
        return "band is for relative sinusoids (positions functional_relative)"
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
    block: int = LANES,
) -> jax.Array:
    """q, k, v [B, L, N, H] → [B, L, N, H]; see `unsupported` for its limits."""
    assert isinstance(addition, Sinusoids)
    assert rate == 0 or key is None
    length = q.shape[1]
    distance = addition.distance or length
    size = -(-length // block) * block
    # A band that nothing leaves has no edge to look for, in what pads the row neither.
    reach = distance if distance < length - 1 else size
    band = Band(scale, reach, addition.distance, size, min(block, size), interpret)
    pad = lambda x, value: jnp.pad(x, ((0, 0), (0, size - length)) + ((0, 0),) * (x.ndim - 2), constant_values=value)
    rows = over_mesh(lambda q, k, v, segments: _attend(band, q, k, v, segments))
    segments = pad(visibility.key_segments, -1)  # what is added sees itself alone
    return rows(pad(q, 0), pad(k, 0), pad(v, 0), segments)[:, :length]


class Band(NamedTuple):
    """The sizes of one call."""

    scale: float
    distance: int  # K, or the length where no distance is clipped
    shift: int  # of distances before their sinusoid is taken: K, or 0
    length: int  # L, a multiple of `block`
    block: int  # queries at a time, and keys in a tile
    interpret: bool

    @property
    def whole(self) -> bool:
        """Whether no distance is clipped."""
        return self.distance >= self.length


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
    """Runs `body` for every row and head.

    Args:
      arrays: [B, N, L, H] each: q, k, v and, for the backward pass, the output's gradient.
      results: 1 for the output, 3 for the gradients of q, k, v; [B, N, L, H] each, as `arrays`.
    """
    rows, heads, length, size = arrays[0].shape
    one = pl.BlockSpec((None, None, length, size), lambda b, n: (b, n, 0, 0))
    constants = _constants(band, size, arrays[0].dtype)
    backward = results == 3
    plain, near = products(band, backward)
    return pl.pallas_call(
        functools.partial(body, band),
        grid=(rows, heads),
        in_specs=[
            pl.BlockSpec((None, length, 1), lambda b, n: (b, 0, 0)),
            pl.BlockSpec((None, 1, length), lambda b, n: (b, 0, 0)),
            *[pl.BlockSpec(x.shape, lambda b, n: (0, 0)) for x in constants],
            *[one] * len(arrays),
        ],
        out_specs=[one] * results,
        out_shape=[jax.ShapeDtypeStruct(arrays[0].shape, arrays[0].dtype)] * results,
        scratch_shapes=[pltpu.VMEM((length, size), jnp.float32)] * (2 * backward),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel")),
        cost_estimate=pl.CostEstimate(
            flops=2 * rows * heads * size * (plain + 2 * near),
            transcendentals=rows * heads * length**2,
            bytes_accessed=(len(arrays) + results) * arrays[0].size * arrays[0].dtype.itemsize,
        ),
        interpret=band.interpret,
        name="band_backward" if backward else "band_forward",
    )(segments[:, :, None], segments[:, None, :], *constants, *arrays)


def products(band: Band, backward: bool) -> tuple[int, int]:
    """Pairs of query and key in one head's matrix products: with q, k or v, H numbers wide, and with S, 2H wide.

    Products that exchange the numbers of a pair are counted with the former.
    """
    if band.whole:
        exchanges = band.length * LANES
        return (
            (2 * band.length**2 + 4 * exchanges, 3 * band.length**2)
            if backward
            else (3 * exchanges, 2 * band.length**2)
        )
    near = sum(len(_Block.near_tiles(band, start)) for start in range(0, band.length, band.block)) * band.block**2
    return (5 * band.length**2, 3 * near) if backward else (2 * band.length**2, 2 * near)


def _constants(band: Band, size: int, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array, jax.Array]:
    """[L, 2H] of the keys: S and S with its pairs exchanged; [L, 2H] that turns queries; T[0] and T[2K] as [2, H].

    A turn needs each number and its partner in the pair. To exchange pairs inside the kernel is slow; products with
    both S and the exchanged S have the same effect, and 128 columns cost a TPU what 64 do. Where those columns are
    taken, without clipping, a product with a permutation [H, H], the last constant then, exchanges them.
    """
    positions = jnp.arange(band.length)
    pair = lambda even, odd: jnp.stack([even, odd], -1).reshape(-1, size)
    sine, cosine = (sinusoids(positions, size)[:, i::2] for i in (0, 1))
    keys = jnp.concatenate([pair(sine, cosine), pair(cosine, sine)], 1)
    sine, cosine = (sinusoids(positions - band.shift, size)[:, i::2] for i in (0, 1))
    turns = jnp.concatenate([pair(cosine, cosine), pair(-sine, sine)], 1)
    if band.whole:
        return keys[:, :size].astype(dtype), turns, jnp.eye(size, dtype=dtype)[jnp.arange(size) ^ 1]
    return keys.astype(dtype), turns, sinusoids(band.shift + jnp.array([-band.distance, band.distance]), size)


class _Whole:
    """One block of queries inside the kernel where all is band."""

    def __init__(self, band: Band, start: int, keys, turns, swap):
        self.rows = slice(start, start + band.block)
        self.turns = turns[self.rows, :]
        self.swap = swap[...]

    @staticmethod
    def operand(y, keys):
        """k or v [L, H] as the products take it: [L, 2H], beside S."""
        return jnp.concatenate([y[...], keys[...]], 1)

    def pairs(self, x, y):
        """The products of x, float32 [block, H], with each row of k or v and the relative vectors: [block, L]."""
        size = x.shape[1]
        exchanged = _dot(x.astype(y.dtype), self.swap, 1, 0)
        back = x * self.turns[:, :size] - exchanged * self.turns[:, size:]
        return _dot(jnp.concatenate([x, back], 1).astype(y.dtype), y, 1, 1)

    def sums(self, weights, y):
        """The sums of k or v and the relative vectors, weighted by [block, L]: float32 [block, H]."""
        both = _dot(weights.astype(y.dtype), y, 1, 0)
        size = both.shape[1] // 2
        plain, x = both[:, :size], both[:, size:]
        # In two halves, so that the exchange keeps float32's digits as far as the output needs them.
        high = x.astype(y.dtype)
        low = (x - high.astype(jnp.float32)).astype(y.dtype)
        exchanged = _dot(high, self.swap, 1, 0) + _dot(low, self.swap, 1, 0)
        return plain + x * self.turns[:, :size] + exchanged * self.turns[:, size:]


class _Block:
    """One block of queries inside the kernel: where its band lies, and how its queries turn. The same as `_Whole`."""

    def __init__(self, band: Band, start: int, keys, turns, ends):
        self.band, self.start = band, start
        self.rows = slice(start, start + band.block)
        self.near = self.near_tiles(band, start)
        self.keys = keys[self.near[0] : self.near[-1] + band.block, :]  # S of the tiles that the band touches
        self.turns = turns[self.rows, :]
        self.first, self.last = ends[0:1, :], ends[1:2, :]
        shape = (band.block, band.block)
        self.apart = jax.lax.broadcasted_iota(jnp.int32, shape, 1) - jax.lax.broadcasted_iota(jnp.int32, shape, 0)

    @staticmethod
    def near_tiles(band: Band, start: int) -> range:
        """First keys of the tiles that the band of the block at `start` touches."""
        reach = (band.distance + band.block - 1) // band.block * band.block
        return range(max(0, start - reach), min(band.length, start + reach + band.block), band.block)

    @staticmethod
    def operand(y, keys):
        del keys
        return y[...]

    def pairs(self, x, y):
        return self.add_relative(_dot(x.astype(y.dtype), y, 1, 1), x, y.dtype)

    def sums(self, weights, y):
        return _dot(weights.astype(y.dtype), y, 1, 0) + self.sum_relative(weights, y.dtype)

    def back(self, x):
        """float32 [block, H] → [block, 2H], whose product with `keys` is that of S with x turned back."""
        return jnp.concatenate([x, x], 1) * self.turns

    def forth(self, x):
        """float32 [block, 2H], a sum over `keys` → [block, H] turned forward; the transpose of `back`."""
        x = x * self.turns
        size = x.shape[1] // 2
        return x[:, :size] + x[:, size:]

    def add_relative(self, plain, x, dtype):
        """plain [block, L] + the products of x, float32 [block, H], with the relative vectors of all pairs."""
        left, right = (jnp.sum(x * end, -1, keepdims=True) for end in (self.first, self.last))
        inside = _dot(self.back(x).astype(dtype), self.keys, 1, 1)
        tiles = []
        for key in range(0, self.band.length, self.band.block):
            tile = plain[:, key : key + self.band.block]
            if key not in self.near:
                tiles.append(tile + (left if key < self.start else right))
                continue
            relative = inside[:, key - self.near[0] :][:, : self.band.block]
            for beyond, value in ((self._left_of_band(key), left), (self._right_of_band(key), right)):
                relative = relative if beyond is None else jnp.where(beyond, value, relative)
            tiles.append(tile + relative)
        return jnp.concatenate(tiles, 1)

    def sum_relative(self, weights, dtype):
        """The sum over keys of weights [block, L] times the relative vectors: float32 [block, H]."""
        left = right = jnp.zeros((self.band.block, self.band.block), jnp.float32)
        inside = []
        for key in range(0, self.band.length, self.band.block):
            tile = weights[:, key : key + self.band.block]
            if key not in self.near:
                left, right = (left + tile, right) if key < self.start else (left, right + tile)
                continue
            beyond = self._left_of_band(key)
            if beyond is not None:
                left, tile = left + jnp.where(beyond, tile, 0), jnp.where(beyond, 0, tile)
            beyond = self._right_of_band(key)
            if beyond is not None:
                right, tile = right + jnp.where(beyond, tile, 0), jnp.where(beyond, 0, tile)
            inside.append(tile.astype(dtype))
        ends = jnp.sum(left, -1, keepdims=True) * self.first + jnp.sum(right, -1, keepdims=True) * self.last
        return self.forth(_dot(jnp.concatenate(inside, 1), self.keys, 1, 0)) + ends

    def _left_of_band(self, key):
        """Which pairs of the tile at `key` are left of the band; None if none can be."""
        offset = key - self.start
        return self.apart < -self.band.distance - offset if offset - self.band.block < -self.band.distance else None

    def _right_of_band(self, key):
        offset = key - self.start
        return self.apart > self.band.distance - offset if offset + self.band.block > self.band.distance else None


def _forward(band, q_segments, k_segments, keys, turns, ends, q, k, v, out):
    kind = _Whole if band.whole else _Block
    k, v = kind.operand(k, keys), kind.operand(v, keys)
    for start in range(0, band.length, band.block):
        block = kind(band, start, keys, turns, ends)
        weights, total, _ = _weights(block, band.scale, q_segments, k_segments, q, k)
        out[block.rows, :] = (block.sums(weights, v) * (1 / total)).astype(out.dtype)


def _backward(band, q_segments, k_segments, keys, turns, ends, q, k, v, gradient, dq, dk, dv, dk_sum, dv_sum):
    kind = _Whole if band.whole else _Block
    k, v = kind.operand(k, keys), kind.operand(v, keys)
    dk_sum[...] = jnp.zeros_like(dk_sum)
    dv_sum[...] = jnp.zeros_like(dv_sum)
    for start in range(0, band.length, band.block):
        block = kind(band, start, keys, turns, ends)
        weights, total, scaled = _weights(block, band.scale, q_segments, k_segments, q, k)
        p = weights * (1 / total)
        ours = gradient[block.rows, :]
        dp = block.pairs(ours.astype(jnp.float32), v)
        ds = p * (dp - jnp.sum(p * dp, -1, keepdims=True))
        dq[block.rows, :] = (band.scale * block.sums(ds, k)).astype(dq.dtype)
        dk_sum[...] += _dot(ds.astype(k.dtype), scaled.astype(k.dtype), 0, 0)
        dv_sum[...] += _dot(p.astype(v.dtype), ours, 0, 0)
    dk[...] = dk_sum[...].astype(dk.dtype)
    dv[...] = dv_sum[...].astype(dv.dtype)


def _weights(block, scale, q_segments, k_segments, q, k):
    """e^(score − largest) [block, L], its sum over keys [block, 1], and the scaled queries, float32."""
    scaled = q[block.rows, :].astype(jnp.float32) * scale
    scores = jnp.where(q_segments[block.rows, :] == k_segments[...], block.pairs(scaled, k), HIDDEN)
    weights = jnp.exp(scores - jnp.max(scores, -1, keepdims=True))
    return weights, jnp.sum(weights, -1, keepdims=True), scaled


def _dot(a, b, a_axis, b_axis):
    """Contracts one axis of a with one of b, in float32."""
    return jax.lax.dot_general(a, b, (((a_axis,), (b_axis,)), ((), ())), preferred_element_type=jnp.float32)
