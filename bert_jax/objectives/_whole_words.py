"""Drawing whole words (Google's BERT, `masked_lm_prob` with whole-word masking; Cui et al. 2019, section 2.2)."""

import jax
import jax.numpy as jnp

_ROUNDS = 4  # after the first the places that are left are fewer than the tokens of a word


def choose_words(
    candidates: jax.Array, word_starts: jax.Array, rate: float, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """A uniform draw of whole words without repetition from each row's candidates (bool [B, L]).

    Words are taken in random order; one with more tokens than are still wanted is passed over, as in Google's code. So
    a short row may fall short of the rate, or predict nothing where its every word is too long.

    Args:
      word_starts: bool [B, L]; a candidate that starts no word belongs to the word of the token before it.

    Returns:
      places int [B, P], all different in a row, and weights float [B, P]: 1 for the tokens of the words, of which there
      are at most as many as the rate asks of the row's candidates. P is the rate's share of L.
    """
    rows, length = candidates.shape
    slots = max(1, round(rate * length))
    count = candidates.sum(1)
    wanted = jnp.clip(jnp.round(rate * count), jnp.minimum(count, 1), slots).astype(jnp.int32)

    starts = candidates & (word_starts | ~jnp.pad(candidates, ((0, 0), (1, 0)))[:, :-1])
    word = jnp.cumsum(starts, axis=1) - 1  # of each place; those before the first word are no candidates
    row = jnp.arange(rows)[:, None]
    sizes = jnp.zeros((rows, length), jnp.int32).at[row, word].add(candidates, mode="drop")
    draw = jnp.where(sizes > 0, jax.random.uniform(key, (rows, length)), 2.0)
    order = jnp.argsort(draw, axis=1)
    sizes_drawn = jnp.take_along_axis(sizes, order, axis=1)
    taken = jnp.zeros((rows, length), bool)
    left = wanted
    for _ in range(_ROUNDS):
        fitting = jnp.where(~taken & (sizes_drawn > 0) & (sizes_drawn <= left[:, None]), sizes_drawn, 0)
        taken |= (fitting > 0) & (jnp.cumsum(fitting, axis=1) <= left[:, None])
        left = wanted - jnp.where(taken, sizes_drawn, 0).sum(1)
    taken_word = jnp.zeros((rows, length), bool).at[row, order].set(taken)
    chosen = candidates & jnp.take_along_axis(taken_word, jnp.maximum(word, 0), axis=1)
    places = jnp.argsort(~chosen, axis=1, stable=True)[:, :slots]
    return places, jnp.take_along_axis(chosen, places, axis=1).astype(jnp.float32)
