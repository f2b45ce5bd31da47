"""[MASK], or a random token, or the token itself, drawn for each token (Devlin et al. 2018, appendix A.1)."""

import jax
import jax.numpy as jnp

from bert_jax.objectives import Batch, Vocabulary
from bert_jax.objectives.replacement import Replace
from configuration.variants import ConfigError


def build(vocabulary: Vocabulary, *, masked: float = 0.8, random: float = 0.1) -> Replace:
    """The replacement.

    Args:
      masked: share of the predicted tokens that become [MASK].
      random: share of them that become a random token of the vocabulary; the rest stay as they are.
    """
    for name, share in {"masked": masked, "random": random, "masked + random": masked + random}.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"config.objective.replacement.{name} is {share}; it must be a share between 0 and 1")

    def replace(targets: jax.Array, batch: Batch, key: jax.Array) -> jax.Array:
        del batch
        kind_key, word_key = jax.random.split(key)
        kind = jax.random.uniform(kind_key, targets.shape)
        words = jax.random.randint(word_key, targets.shape, 0, vocabulary.size)
        return jnp.where(kind < masked, vocabulary.mask, jnp.where(kind < masked + random, words, targets))

    return replace
