"""[MASK], or random tokens, or the tokens themselves, drawn once for all tokens of a unit (SpanBERT, section 3.1)."""

from typing import Literal

import jax
import jax.numpy as jnp

from bert_jax.objectives import Batch, Vocabulary
from bert_jax.objectives.masking import Chosen
from bert_jax.objectives.masking._units import random_at, start_of
from bert_jax.objectives.replacement import Replacement, check_shares


def build(
    vocabulary: Vocabulary, *, masked: float = 0.8, random: float = 0.1, unit: Literal["masking", "word"] = "masking"
) -> Replacement:
    """The replacement.

    Args:
      masked: share of the units whose tokens all become [MASK].
      random: share of them whose tokens each become a random one of the vocabulary; the rest stay as they are.
      unit: "masking", what the masking draws as one, such as a span; or "word".
    """
    check_shares(masked=masked, random=random)

    def replace(targets: jax.Array, chosen: Chosen, batch: Batch, key: jax.Array) -> jax.Array:
        kind_key, word_key = jax.random.split(key)
        units = chosen.units if unit == "masking" else word_of(batch, chosen)
        kind = share_at(kind_key, units)
        tokens = jax.random.randint(word_key, targets.shape, 0, vocabulary.size)
        return jnp.where(kind < masked, vocabulary.mask, jnp.where(kind < masked + random, tokens, targets))

    return Replacement(replace, ("word_starts",) if unit == "word" else ())


def word_of(batch: Batch, chosen: Chosen) -> jax.Array:
    """int32 [B, P]: the position where the word of each predicted token starts."""
    return jnp.take_along_axis(start_of(batch["word_starts"]), chosen.places, axis=1)


def share_at(key: jax.Array, places: jax.Array) -> jax.Array:
    """float32 in [0, 1) of places int [B, P], the same for the same place of a row."""
    return (random_at(key, places) >> 8).astype(jnp.float32) * 2.0**-24
