"""Our Pallas kernel for relative sinusoids, clipped at a distance K or not (NEZHA), on TPU: O(L) memory, with dropout.

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

The rest is in `_rows`, which takes queries block by block. Which tiles of 128 keys lie left of a block's band, in it
or right of it is known when the kernel is written out, so that only tiles on the band's edge pay for the choice, and
tiles outside for no product with S.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.modeling.kernels import Addition, Kernel, Request, Sinusoids
from bert_jax.modeling.kernels._rows import LANES, LONGEST, Plan, dot
from bert_jax.modeling.kernels._rows import attend as attend_rows
from bert_jax.modeling.positions._sinusoids import sinusoids
from bert_jax.modeling.visibility import Visibility


def build(*, interpret: bool = False, block: int = LANES) -> Kernel:
    """The kernel.

    Args:
      interpret: run it step by step on any device, for tests.
      block: queries that are computed at a time, and keys in a tile; a multiple of 128 on TPU.
    """
    return Kernel(
        functools.partial(unsupported, interpret=interpret),
        functools.partial(attend, interpret=interpret, block=block),
        preference={"tpu": 3},
    )


def unsupported(request: Request, *, interpret: bool = False) -> str | None:
    """None, or why not."""
    if request.platform != "tpu" and not interpret:
        return f"band runs on TPU, not on {request.platform}"
    if request.ranks or request.window is not None:
        return "band takes neither windows nor an order of keys"
    if request.elsewhere:
        return "band takes queries at all places of a row"
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
    length = q.shape[1]
    distance = addition.distance or length
    size = -(-length // block) * block
    # A band that nothing leaves has no edge to look for, in what pads the row neither.
    reach = distance if distance < length - 1 else size
    band = Band(reach, addition.distance, size, block)
    return attend_rows(Plan("band", band, scale, block, rate, None, interpret), q, k, v, visibility, key)


class Band(NamedTuple):
    """The sizes of one call, and how its kernel adds the relative vectors."""

    distance: int  # K, or the length where no distance is clipped
    shift: int  # of distances before their sinusoid is taken: K, or 0
    length: int  # L, a multiple of `tile`
    tile: int  # keys in a tile, and queries in a block

    @property
    def whole(self) -> bool:
        """Whether no distance is clipped."""
        return self.distance >= self.length

    def constants(self, size: int, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array, jax.Array]:
        return _constants(self, size, dtype)

    def operand(self, y, keys, turns, last):
        """k or v [L, H] as the products take it: [L, 2H], beside S, where all is band."""
        del turns, last
        return jnp.concatenate([y[...], keys[...]], 1) if self.whole else y[...]

    def block(self, rows, *constants):
        return _Whole(rows, *constants) if self.whole else _Block(self, rows, *constants)

    def products(self, queries: int, keys: int, backward: bool) -> tuple[int, int]:
        """Products that exchange the numbers of a pair are counted with the narrow ones."""
        if self.whole:
            exchanges = queries * LANES
            narrow, wide = (2 * queries * keys + 4 * exchanges, 3) if backward else (3 * exchanges, 2)
            return narrow, wide * queries * keys
        near = sum(len(_Block.near_tiles(self, start)) for start in range(0, queries, self.tile)) * self.tile**2
        return (5 * queries * keys, 3 * near) if backward else (2 * queries * keys, 2 * near)


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

    def __init__(self, rows: slice, keys, turns, swap):
        del keys  # beside the rows of k and v already
        self.rows = rows
        self.turns = turns[self.rows, :]
        self.swap = swap[...]

    def pairs(self, x, y):
        """The products of x, float32 [block, H], with each row of k or v and the relative vectors: [block, L]."""
        size = x.shape[1]
        exchanged = dot(x.astype(y.dtype), self.swap, 1, 0)
        back = x * self.turns[:, :size] - exchanged * self.turns[:, size:]
        return dot(jnp.concatenate([x, back], 1).astype(y.dtype), y, 1, 1)

    def sums(self, weights, y):
        """The sums of k or v and the relative vectors, weighted by [block, L]: float32 [block, H]."""
        both = dot(weights.astype(y.dtype), y, 1, 0)
        size = both.shape[1] // 2
        plain, x = both[:, :size], both[:, size:]
        # In two halves, so that the exchange keeps float32's digits as far as the output needs them.
        high = x.astype(y.dtype)
        low = (x - high.astype(jnp.float32)).astype(y.dtype)
        exchanged = dot(high, self.swap, 1, 0) + dot(low, self.swap, 1, 0)
        return plain + x * self.turns[:, :size] + exchanged * self.turns[:, size:]


class _Block:
    """One block of queries inside the kernel: where its band lies, and how its queries turn. The same as `_Whole`."""

    def __init__(self, band: Band, rows: slice, keys, turns, ends):
        self.band, self.rows, self.start = band, rows, rows.start
        self.near = self.near_tiles(band, rows.start)
        self.keys = keys[self.near[0] : self.near[-1] + band.tile, :]  # S of the tiles that the band touches
        self.turns = turns[self.rows, :]
        self.first, self.last = ends[0:1, :], ends[1:2, :]
        shape = (band.tile, band.tile)
        self.apart = jax.lax.broadcasted_iota(jnp.int32, shape, 1) - jax.lax.broadcasted_iota(jnp.int32, shape, 0)

    @staticmethod
    def near_tiles(band: Band, start: int) -> range:
        """First keys of the tiles that the band of the block at `start` touches."""
        reach = (band.distance + band.tile - 1) // band.tile * band.tile
        return range(max(0, start - reach), min(band.length, start + reach + band.tile), band.tile)

    def pairs(self, x, y):
        return self.add_relative(dot(x.astype(y.dtype), y, 1, 1), x, y.dtype)

    def sums(self, weights, y):
        return dot(weights.astype(y.dtype), y, 1, 0) + self.sum_relative(weights, y.dtype)

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
        inside = dot(self.back(x).astype(dtype), self.keys, 1, 1)
        tiles = []
        for key in range(0, self.band.length, self.band.tile):
            tile = plain[:, key : key + self.band.tile]
            if key not in self.near:
                tiles.append(tile + (left if key < self.start else right))
                continue
            relative = inside[:, key - self.near[0] :][:, : self.band.tile]
            for beyond, value in ((self._left_of_band(key), left), (self._right_of_band(key), right)):
                relative = relative if beyond is None else jnp.where(beyond, value, relative)
            tiles.append(tile + relative)
        return jnp.concatenate(tiles, 1)

    def sum_relative(self, weights, dtype):
        """The sum over keys of weights [block, L] times the relative vectors: float32 [block, H]."""
        left = right = jnp.zeros((self.band.tile, self.band.tile), jnp.float32)
        inside = []
        for key in range(0, self.band.length, self.band.tile):
            tile = weights[:, key : key + self.band.tile]
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
        return self.forth(dot(jnp.concatenate(inside, 1), self.keys, 1, 0)) + ends

    def _left_of_band(self, key):
        """Which pairs of the tile at `key` are left of the band; None if none can be."""
        offset = key - self.start
        return self.apart < -self.band.distance - offset if offset - self.band.tile < -self.band.distance else None

    def _right_of_band(self, key):
        offset = key - self.start
        return self.apart > self.band.distance - offset if offset + self.band.tile > self.band.distance else None
