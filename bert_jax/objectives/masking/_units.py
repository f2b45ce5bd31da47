"""Drawing whole units: words, n-grams of words, spans, phrases. No loop over rows, no sorting, no shape that varies.

A unit is a run of a row's candidates, the tokens of text: none crosses [SEP] or the end of a document.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry2x32_p

from bert_jax.objectives.masking import Budget, Chosen
from bert_jax.objectives.masking._slots import fill_slots, least_of_largest

_ROUNDS = 8  # units that fill what is left of the budget; each takes at least one token


def runs(candidates: jax.Array, starts: jax.Array) -> jax.Array:
    """bool [B, L]: where units start among the candidates. One that starts none belongs to the token before it."""
    return candidates & (starts | ~jnp.roll(candidates, 1, axis=1).at[:, 0].set(False))


def start_of(starts: jax.Array) -> jax.Array:
    """int32 [B, L]: the nearest position at or before each where one of bool [B, L] starts; 0 where there is none."""
    return jax.lax.cummax(jnp.where(starts, jnp.arange(starts.shape[1]), 0), axis=1)


def random_at(key: jax.Array, places: jax.Array) -> jax.Array:
    """uint32 of positions int [B, …]: a hash of key, row and position, the same for all tokens of a unit."""
    first, second = jax.random.key_data(key)[:2]
    row = jax.lax.broadcasted_iota(jnp.uint32, places.shape, 0)
    return threefry2x32_p.bind(first, second, row, places.astype(jnp.uint32))[0]


def group(words: jax.Array, shares: Sequence[float], key: jax.Array) -> jax.Array:
    """bool [B, L]: where groups of 1, 2, … words start, for words that start at bool [B, L].

    Groups follow each other around the row, from a word drawn at random: the row's last words and its first ones are
    neighbours. So no word differs from any other, at the row's ends or elsewhere. The last group that is made has the
    words that are left.

    Args:
      shares: of the groups of 1, 2, 3, … words, in proportion.
    """
    size_key, turn_key = jax.random.split(key)
    bounds = jnp.asarray(np.cumsum(shares)[:-1] / np.sum(shares), jnp.float32)
    sizes = 1 + (jax.random.uniform(size_key, words.shape)[..., None] >= bounds).sum(-1)
    opens = jnp.zeros(words.shape, bool).at[:, 0].set(True)  # of each word, counted from the one drawn at random
    opens = jax.vmap(lambda row, at: row.at[at].set(True, mode="drop"))(opens, jnp.cumsum(sizes, axis=1))
    count = jnp.maximum(words.sum(1, keepdims=True), 1)
    turn = (jax.random.uniform(turn_key, count.shape) * count).astype(jnp.int32)
    return words & jnp.take_along_axis(opens, (jnp.cumsum(words, axis=1) - 1 - turn) % count, axis=1)


def draw_units(candidates: jax.Array, units: jax.Array, parts: jax.Array, budget: Budget, key: jax.Array) -> Chosen:
    """A uniform draw of units without repetition, as many tokens as the budget, or the few less that fill no part.

    Units are taken in random order. Of the one that is more than is left, the parts that fit are taken, from its first
    on; then parts that fit, drawn one by one from all that are left.

    Args:
      candidates: bool [B, L].
      units: bool [B, L], first tokens of units among the candidates. Those before the first one of a row belong to the
        row's last. What the result calls a unit ends at [SEP] nevertheless.
      parts: bool [B, L], first tokens of what is never cut, those of units included.
    """
    order_key, fill_key = jax.random.split(key)
    slots, wanted = budget
    chosen = _in_random_order(candidates, units, parts, wanted, order_key)
    filled = _fill(candidates, chosen, parts, wanted, fill_key)
    places, weights = fill_slots(chosen | filled, (chosen | filled).sum(1), slots)
    unit = jnp.where(filled, start_of(parts), start_of(runs(candidates, units)))
    return Chosen(places, weights, jnp.take_along_axis(unit, places, axis=1))


def _in_random_order(
    candidates: jax.Array, units: jax.Array, parts: jax.Array, wanted: jax.Array, key: jax.Array
) -> jax.Array:
    """bool [B, L]: the tokens of units in random order, of the last one those before a part that is too long."""
    place, first = jnp.arange(units.shape[1]), start_of(units)
    before_all = jnp.cumsum(units, axis=1) == 0
    unit = jnp.where(before_all, first[:, -1:], first)
    order = jnp.where(candidates, random_at(key, unit) | 1, 0)
    least = least_of_largest(order, wanted)[:, None]
    whole, last = order > least, candidates & (order == least)
    left, size = wanted - whole.sum(1), last.sum(1)
    around = (last & (place < unit)).sum(1, keepdims=True)  # tokens that follow the unit's others around the row
    rank = (jnp.cumsum(last, axis=1) - 1 - around) % jnp.maximum(size, 1)[:, None]
    fits = jnp.where(last & parts & (rank <= left[:, None]), rank, 0).max(1)
    taken = jnp.where(left < size, fits, left)
    return whole | (last & (rank < taken[:, None]))


def _fill(candidates: jax.Array, chosen: jax.Array, parts: jax.Array, wanted: jax.Array, key: jax.Array) -> jax.Array:
    """bool [B, L]: further parts, drawn one by one among those that fit into what is left."""
    place = jnp.arange(candidates.shape[1])
    ends = jnp.where(parts | ~candidates, place, candidates.shape[1])
    next_end = jax.lax.cummin(jnp.roll(ends, -1, axis=1).at[:, -1].set(candidates.shape[1]), axis=1, reverse=True)
    sizes = jnp.where(parts & ~chosen, next_end - place, candidates.shape[1])
    order = (random_at(key, jnp.broadcast_to(place, sizes.shape)) >> 1).astype(jnp.int32)
    part = start_of(parts)

    def add(_: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        filled, left = state
        fitting = jnp.where((sizes <= left[:, None]) & ~filled, order, -1)
        best = fitting.argmax(1)[:, None]
        found = jnp.take_along_axis(fitting, best, axis=1) >= 0
        filled |= found & candidates & (part == best)
        return filled, left - jnp.where(found, jnp.take_along_axis(sizes, best, axis=1), 0)[:, 0]

    return jax.lax.fori_loop(0, _ROUNDS, add, (jnp.zeros_like(chosen), wanted - chosen.sum(1)))[0]
