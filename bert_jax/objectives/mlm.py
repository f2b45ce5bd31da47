"""Masked language modelling (Devlin et al. 2018, section 3.1), masks drawn anew each time (RoBERTa, section 4.1).

A fixed number of places is predicted in each row, so that logits exist for those alone.
"""

from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling import heads
from bert_jax.modeling.bert import encode
from bert_jax.modeling.heads import padded_mlm_logits
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, normalized
from bert_jax.objectives._cross_entropy import cross_entropy
from bert_jax.objectives._whole_words import choose_words
from configuration.variants import ConfigError


def parts(model: Model) -> Parts:
    """The masked-language-model head."""
    return heads.parts(model, "mlm_head")


def build(
    model: Model,
    vocabulary: Vocabulary,
    *,
    mask_rate: float = 0.15,
    masked: float = 0.8,
    random: float = 0.1,
    whole_words: bool = False,
) -> Objective:
    """The objective.

    Args:
      mask_rate: share of a row's text tokens that are predicted, rounded to the nearest count, at least one.
      masked: share of the predicted tokens that become [MASK].
      random: share of them that become a random token; the rest stay as they are.
      whole_words: predicts all tokens of a word or none (Cui et al. 2019, section 2.2). Words are as the store has
        them: config.data.words.
    """
    for name, share in {
        "mask_rate": mask_rate,
        "masked": masked,
        "random": random,
        "masked + random": masked + random,
    }.items():
        if not 0 <= share <= 1 or (name == "mask_rate" and share == 0):
            raise ConfigError(f"config.objective.{name} is {share}; it must be a share between 0 and 1")

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        """Adds target_positions, targets (int [B, P]) and target_weights (float [B, P]); changes tokens there."""
        choose_key, kind_key, word_key = jax.random.split(key, 3)
        tokens = jnp.asarray(batch["tokens"], jnp.int32)
        text = is_text(tokens, batch["segments"], vocabulary)
        if whole_words:
            places, weights = choose_words(text, batch["word_starts"], mask_rate, choose_key)
        else:
            places, weights = choose_positions(text, mask_rate, choose_key)
        targets = jnp.take_along_axis(tokens, places, axis=1)

        kind = jax.random.uniform(kind_key, places.shape)
        words = jax.random.randint(word_key, places.shape, 0, vocabulary.size)
        shown = jnp.where(kind < masked, vocabulary.mask, jnp.where(kind < masked + random, words, targets))
        shown = jnp.where(weights > 0, shown, targets)
        put = lambda row, places, shown: row.at[places].set(shown, unique_indices=True)
        corrupted = jax.vmap(put)(tokens, places, shown)
        drawn = {"target_positions": places, "targets": targets, "target_weights": normalized(weights)}
        return batch | {"tokens": corrupted} | drawn

    def loss(params: dict, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        """The weighted sum of −log p(target), and the accuracy."""
        del constants
        hidden = encode(model, params, batch, key, batch["target_positions"])
        logits = padded_mlm_logits(model, params, hidden)
        loss, accuracy = cross_entropy(logits, batch["targets"], batch["target_weights"])
        return loss, {"accuracy": accuracy}

    return Objective(corrupt, loss, ("word_starts",) if whole_words else ())


def is_text(tokens: jax.Array, segments: jax.Array, vocabulary: Vocabulary) -> jax.Array:
    """bool [B, L]: neither padding nor [CLS] nor [SEP]."""
    return (segments > 0) & (tokens != vocabulary.cls) & (tokens != vocabulary.sep) & (tokens != vocabulary.pad)


def choose_positions(candidates: jax.Array, rate: float, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A uniform draw without repetition from each row's candidates (bool [B, L]).

    Returns:
      places int [B, P], all different in a row, and weights float [B, P]: 1 for as many as the rate asks of the
      row's candidates (at least one, where there is any), 0 for the others. P is the rate's share of L.
    """
    length = candidates.shape[1]
    slots = max(1, round(rate * length))
    count = candidates.sum(1)
    wanted = jnp.clip(jnp.round(rate * count), jnp.minimum(count, 1), slots).astype(jnp.int32)
    draw = jnp.where(candidates, jax.random.bits(key, candidates.shape) | 1, 0)
    chosen = _pack(draw >= _least_of_largest(draw, wanted)[:, None])
    slot = jnp.arange(slots)[None]
    drawn = slot < wanted[:, None]
    # Slots without weight take the first places that were not chosen, so that all are different.
    places = _find_bits(chosen, jnp.where(drawn, slot, slot - wanted[:, None]), ~drawn)
    return places, drawn.astype(jnp.float32)


def _least_of_largest(draw: jax.Array, wanted: jax.Array) -> jax.Array:
    """uint32 [B]: the `wanted`-th largest of each row of uint32 [B, L], bit by bit: quicker than to sort them."""

    def add_bit(i: jax.Array, least: jax.Array) -> jax.Array:
        higher = least | (jnp.uint32(1 << 31) >> i.astype(jnp.uint32))
        return jnp.where((draw >= higher[:, None]).sum(1) >= wanted, higher, least)

    return jax.lax.fori_loop(0, 32, add_bit, jnp.zeros(draw.shape[0], jnp.uint32))


def _pack(flags: jax.Array) -> jax.Array:
    """bool [B, L] → uint32 [B, W]: 32 flags in a word, the first in its lowest bit."""
    words = -(-flags.shape[1] // 32)
    padded = jnp.pad(flags, ((0, 0), (0, words * 32 - flags.shape[1]))).reshape(-1, words, 32)
    return jnp.where(padded, jnp.uint32(1) << jnp.arange(32, dtype=jnp.uint32), 0).sum(2, dtype=jnp.uint32)


def _find_bits(words: jax.Array, rank: jax.Array, zeros: jax.Array) -> jax.Array:
    """int32 [B, P]: where the bit number `rank` [B, P] stands among the ones of a row of words uint32 [B, W].

    Args:
      zeros: bool [B, P], where the zeros are counted instead.
    """
    upto = jnp.cumsum(jax.lax.population_count(words).astype(jnp.int32), axis=1)[:, None]  # ones, [B, 1, W]
    upto = jnp.where(zeros[..., None], 32 * jnp.arange(1, words.shape[1] + 1) - upto, upto)
    passed = upto <= rank[..., None]
    index = passed.sum(2)
    rank = rank - jnp.where(passed, upto, 0).max(2)
    word = jnp.take_along_axis(words, index, axis=1)
    word = jnp.where(zeros, ~word, word)
    place = 32 * index
    for half in (16, 8, 4, 2, 1):
        low = word & jnp.uint32((1 << half) - 1)
        ones = jax.lax.population_count(low).astype(jnp.int32)
        above = rank >= ones
        rank, place = jnp.where(above, rank - ones, rank), jnp.where(above, place + half, place)
        word = jnp.where(above, word >> half, low)
    return place
