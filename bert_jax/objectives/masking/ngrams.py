"""Drawing n-grams of whole words (ALBERT, Lan et al. 2019, section 4.1; MacBERT, Cui et al. 2020, section 3.1).

Departs from ALBERT's code, where an n-gram may cover words that are drawn already. Its author says of MacBERT that a
pointer goes over the text, draws n and jumps past the n-gram, which is what happens here.
"""

import jax

from bert_jax.objectives import Batch
from bert_jax.objectives.masking import Budget, Chosen, Masking
from bert_jax.objectives.masking._units import draw_units, group, runs
from configuration.variants import ConfigError


def build(*, shares: tuple[float, ...] = (6, 3, 2)) -> Masking:
    """Whole n-grams; of the last one, where the budget ends, its first words, as in ALBERT's code.

    Args:
      shares: of the n-grams of 1, 2, 3, … words, in proportion. ALBERT's are as 1/n, MacBERT's (40, 30, 20, 10).

    Raises:
      ConfigError: a share is negative, or none is above 0.
    """
    if min(shares, default=0) < 0 or not sum(shares) > 0:
        raise ConfigError(f"config.objective.masking.shares is {shares}; it must hold shares from 0 on, one above it")

    def choose(batch: Batch, candidates: jax.Array, budget: Budget, key: jax.Array) -> Chosen:
        """As `Masking.choose`. Of an n-gram that reaches an end of its text, the words beyond it stand after [SEP]."""
        group_key, draw_key = jax.random.split(key)
        words = runs(candidates, batch["word_starts"])
        return draw_units(candidates, group(words, shares, group_key), words, budget, draw_key)

    return Masking(choose, ("word_starts",))
