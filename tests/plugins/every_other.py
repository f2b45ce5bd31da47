"""A masking outside the package: every other token of text, as far as the rate goes."""

import jax
import jax.numpy as jnp

from bert_jax.objectives import Batch
from bert_jax.objectives.masking import Budget, Chosen, Masking


def build(*, first: int = 0) -> Masking:
    """Places first, first + 2, first + 4, … among a row's candidates, whatever the budget of each row."""

    def choose(batch: Batch, candidates: jax.Array, budget: Budget, key: jax.Array) -> Chosen:
        del batch, key
        rank = jnp.cumsum(candidates, axis=1) - 1
        wanted = candidates & (rank >= first) & ((rank - first) % 2 == 0)
        places = jnp.argsort(~wanted, axis=1, stable=True)[:, : budget.slots]
        weights = jnp.take_along_axis(wanted, places, axis=1).astype(jnp.float32)
        return Chosen(places, weights, units=places)

    return Masking(choose)
