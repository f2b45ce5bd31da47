"""Drawing whole words (Google's BERT, `masked_lm_prob` with whole-word masking; Cui et al. 2019, section 2.2)."""

import jax

from bert_jax.objectives import Batch
from bert_jax.objectives.masking import Budget, Chosen, Masking
from bert_jax.objectives.masking._units import draw_units, runs


def build() -> Masking:
    """All tokens of a word or none. Words are as the store has them: config.data.words."""
    return Masking(choose, ("word_starts",))


def choose(batch: Batch, candidates: jax.Array, budget: Budget, key: jax.Array) -> Chosen:
    """As `Masking.choose`: a uniform draw of whole words without repetition.

    Words are taken in random order; one with more tokens than are still wanted is passed over, as in Google's code. So
    a short row may fall short of the rate, or predict nothing where its every word is too long.
    """
    words = runs(candidates, batch["word_starts"])
    return draw_units(candidates, words, words, budget, key)
