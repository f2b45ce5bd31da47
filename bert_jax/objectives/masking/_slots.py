"""How many tokens of a row are predicted, and from flags over a row to the slots of a fixed number of predictions."""

import jax
import jax.numpy as jnp

from bert_jax.objectives.masking import Budget


def budget(candidates: jax.Array, rate: jax.Array | float, highest: float) -> Budget:
    """The budget of rows with candidates bool [B, L], rounded to the nearest count.

    Args:
      rate: share of the candidates.
      highest: the highest rate that a row of this length may be asked for.
    """
    slots = max(1, round(highest * candidates.shape[1]))
    count = candidates.sum(1)
    return Budget(slots, jnp.clip(jnp.round(rate * count), jnp.minimum(count, 1), slots).astype(jnp.int32))


def fill_slots(chosen: jax.Array, count: jax.Array, slots: int) -> tuple[jax.Array, jax.Array]:
    """Places int32 [B, P] and weights float32 [B, P] of the first `count` [B] flags of each row of bool [B, L].

    Slots without weight take the first positions that were not chosen, so that all are different.
    """
    slot = jnp.arange(slots)[None]
    used = slot < count[:, None]
    places = _find_bits(_pack(chosen), jnp.where(used, slot, slot - count[:, None]), ~used)
    return places, used.astype(jnp.float32)


def least_of_largest(draw: jax.Array, wanted: jax.Array) -> jax.Array:
    """uint32 [B]: the `wanted`-th largest of each row of uint32 [B, L], bit by bit: quicker than sorting."""

    def add_bit(i: jax.Array, least: jax.Array) -> jax.Array:
        higher = least | (jnp.uint32(1 << 31) >> i.astype(jnp.uint32))
        return jnp.where((draw >= higher[:, None]).sum(1) >= wanted, higher, least)

    return jax.lax.fori_loop(0, 32, add_bit, jnp.zeros(draw.shape[0], jnp.uint32))


def _pack(flags: jax.Array) -> jax.Array:
    """bool [B, L] → uint32 [B, W]: 32 flags in a word, the first in its lowest bit."""
    words = -(-flags.shape[1] // 32)
    padded = jnp.pad(flags, ((0, 0), (0, words * 32 - flags.shape[1]))).reshape(-1, words, 32)
    return jnp.where(padded, jnp.uint32(1) << jnp.arange(32, dtype=jnp.uint32), 0).sum(2, dtype=jnp.uint32)


def _find_bits(words: jax.Array, rank: jax.Array, zeros: jax.Array) -> jax.Array:
    """int32 [B, P]: where the bit number `rank` [B, P] stands among the ones of a row of words uint32 [B, W].

    Args:
      zeros: bool [B, P], where the zeros are counted instead.
    """
    upto = jnp.cumsum(jax.lax.population_count(words).astype(jnp.int32), axis=1)[:, None]  # ones, [B, 1, W]
    upto = jnp.where(zeros[..., None], 32 * jnp.arange(1, words.shape[1] + 1) - upto, upto)
    passed = upto <= rank[..., None]
    index = passed.sum(2)
    rank = rank - jnp.where(passed, upto, 0).max(2)
    word = jnp.take_along_axis(words, index, axis=1)
    word = jnp.where(zeros, ~word, word)
    place = 32 * index
    for half in (16, 8, 4, 2, 1):
        low = word & jnp.uint32((1 << half) - 1)
        ones = jax.lax.population_count(low).astype(jnp.int32)
        above = rank >= ones
        rank, place = jnp.where(above, rank - ones, rank), jnp.where(above, place + half, place)
        word = jnp.where(above, word >> half, low)
    return place
