"""Single tokens, each as likely (Devlin et al. 2018, section 3.1, task 1)."""

import jax
import jax.numpy as jnp

from bert_jax.objectives import Batch
from bert_jax.objectives.masking import Budget, Chosen, Masking
from bert_jax.objectives.masking._slots import fill_slots, least_of_largest


def build() -> Masking:
    """The masking; it has no options."""
    return Masking(choose)


def choose(batch: Batch, candidates: jax.Array, budget: Budget, key: jax.Array) -> Chosen:
    """As `Masking.choose`: a uniform draw without repetition, at least one where there is any candidate."""
    del batch
    slots, wanted = budget
    draw = jnp.where(candidates, jax.random.bits(key, candidates.shape) | 1, 0)
    places, weights = fill_slots(draw >= least_of_largest(draw, wanted)[:, None], wanted, slots)
    return Chosen(places, weights, units=places)
