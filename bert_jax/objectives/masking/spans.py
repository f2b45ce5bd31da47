"""Drawing spans of whole words (SpanBERT, Joshi et al. 2019, arXiv 1907.10529, section 3.1)."""

import jax
import jax.numpy as jnp

from bert_jax.objectives import Batch
from bert_jax.objectives.masking import Budget, Chosen, Masking
from bert_jax.objectives.masking._units import draw_units, group, runs, start_of
from configuration.variants import ConfigError


def build(*, p: float = 0.2, longest: int = 10) -> Masking:
    """Spans until the budget is met exactly: the last one is cut, in the middle of a word too, as in the paper's code.

    Spans that touch count as one unit, as there. One that reaches an end of its text goes on in the next text of the
    row, or from the row's end to its start, as another span, so that all words are drawn as often. There it is cut,
    and the first words of a row are drawn less often.

    Args:
      p: of the geometric distribution of a span's length in words, renormalised over what is allowed.
      longest: words in a span.

    Raises:
      ConfigError: p is no probability, or the longest span has no word.
    """
    if not 0 < p < 1:
        raise ConfigError(f"config.objective.masking.p is {p}; it must be between 0 and 1")
    if longest < 1:
        raise ConfigError(f"config.objective.masking.longest is {longest}; it must be at least 1 word")
    shares = [p * (1 - p) ** n for n in range(longest)]

    def choose(batch: Batch, candidates: jax.Array, budget: Budget, key: jax.Array) -> Chosen:
        group_key, draw_key = jax.random.split(key)
        words = runs(candidates, batch["word_starts"])
        chosen = draw_units(candidates, group(words, shares, group_key), candidates, budget, draw_key)
        row = jnp.arange(len(candidates))[:, None]
        drawn = jnp.zeros(candidates.shape, bool).at[row, chosen.places].set(chosen.weights > 0)
        return chosen._replace(units=jnp.take_along_axis(start_of(runs(drawn, ~drawn)), chosen.places, axis=1))

    return Masking(choose, ("word_starts",))
