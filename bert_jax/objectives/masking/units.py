"""Drawing the units of an annotation whole: entities and phrases (ERNIE 1.0, Sun et al. 2019, section 3.2).

A word outside entities or phrases is a unit of its own, and all units are as likely. The authors' code draws units
by their first token instead, so that its rate varies from row to row.
"""

import jax

from bert_jax.objectives import Batch
from bert_jax.objectives.masking import Budget, Chosen, Masking
from bert_jax.objectives.masking._units import draw_units, runs


def build(*, annotation: str = "word_starts") -> Masking:
    """All tokens of a unit or none.

    Args:
      annotation: of the store, such as "capitals": where units start. A file of data_pipeline/annotations.
    """

    def choose(batch: Batch, candidates: jax.Array, budget: Budget, key: jax.Array) -> Chosen:
        units = runs(candidates, batch[annotation])
        return draw_units(candidates, units, units, budget, key)

    return Masking(choose, (annotation,))
