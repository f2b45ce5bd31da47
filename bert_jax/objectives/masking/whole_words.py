"""Drawing whole words (Google's BERT, `masked_lm_prob` with whole-word masking; Cui et al. 2019, section 2.2)."""

import jax
import jax.numpy as jnp

from bert_jax.objectives import Batch
from bert_jax.objectives.masking import Masking

_ROUNDS = 4  # passes; after the first, fewer slots remain than the word that did not fit has tokens


def build() -> Masking:
    """All tokens of a word or none. Words are as the store has them: config.data.words."""
    return Masking(choose, ("word_starts",))


def choose(batch: Batch, candidates: jax.Array, rate: float, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """As `Masking.choose`: a uniform draw of whole words without repetition.

    Words are taken in random order; one with more tokens than are still wanted is passed over, as in Google's code. So
    a short row may fall short of the rate, or predict nothing where its every word is too long. A candidate that starts
    no word belongs to the word of the token before it.
    """
    word_starts = batch["word_starts"]
    slots = max(1, round(rate * candidates.shape[1]))
    count = candidates.sum(1)
    wanted = jnp.clip(jnp.round(rate * count), jnp.minimum(count, 1), slots).astype(jnp.int32)
    draws = jax.random.uniform(key, candidates.shape)
    chosen = jax.vmap(_draw)(candidates, word_starts, draws, wanted)
    places = jnp.argsort(~chosen, axis=1, stable=True)[:, :slots]
    return places, jnp.take_along_axis(chosen, places, axis=1).astype(jnp.float32)


def _draw(candidates: jax.Array, word_starts: jax.Array, draws: jax.Array, wanted: jax.Array) -> jax.Array:
    """bool [L]: the candidates [L] of the words that a row takes, at most `wanted`; draws [L] are random."""
    starts = candidates & (word_starts | ~jnp.roll(candidates, 1).at[0].set(False))
    word = jnp.maximum(jnp.cumsum(starts) - 1, 0)  # of each place
    sizes = jnp.zeros(draws.shape, jnp.int32).at[word].add(candidates)  # of each word, 0 where there is none
    order = jnp.argsort(jnp.where(sizes > 0, draws, 2.0))
    sizes = sizes[order]
    taken, left = jnp.zeros(draws.shape, bool), wanted
    for _ in range(_ROUNDS):
        fitting = jnp.where(~taken & (sizes <= left), sizes, 0)
        taken |= (fitting > 0) & (jnp.cumsum(fitting) <= left)
        left = wanted - jnp.where(taken, sizes, 0).sum()
    return candidates & jnp.zeros(draws.shape, bool).at[order].set(taken)[word]
