"""[MASK], or a random token, or the token itself, drawn for each token (Devlin et al. 2018, appendix A.1)."""

import jax
import jax.numpy as jnp

from bert_jax.objectives import Batch, Vocabulary
from bert_jax.objectives.masking import Chosen
from bert_jax.objectives.replacement import Replacement, check_shares


def build(vocabulary: Vocabulary, *, masked: float = 0.8, random: float = 0.1) -> Replacement:
    """The replacement.

    Args:
      masked: share of the predicted tokens that become [MASK].
      random: share of them that become a random token of the vocabulary; the rest stay as they are.
    """
    check_shares(masked=masked, random=random)

    def replace(targets: jax.Array, chosen: Chosen, batch: Batch, key: jax.Array) -> jax.Array:
        del chosen, batch
        kind_key, word_key = jax.random.split(key)
        kind = jax.random.uniform(kind_key, targets.shape)
        words = jax.random.randint(word_key, targets.shape, 0, vocabulary.size)
        return jnp.where(kind < masked, vocabulary.mask, jnp.where(kind < masked + random, words, targets))

    return Replacement(replace)
