"""Masked language modelling (Devlin et al. 2018, section 3.1), masks drawn anew each time (RoBERTa, section 4.1).

A fixed number of positions is predicted in each row, and logits are computed for those alone.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling import heads
from bert_jax.modeling.bert import encode
from bert_jax.modeling.heads import mlm_head
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, normalized
from bert_jax.objectives._cross_entropy import cross_entropy
from bert_jax.objectives.masking._slots import budget
from bert_jax.objectives.rates import now, rate_of
from configuration.variants import Variant, load, use


def parts(model: Model) -> Parts:
    """The masked-language-model head."""
    return heads.parts(model, "mlm_head")


def build(
    model: Model,
    vocabulary: Vocabulary,
    *,
    mask_rate: float | Variant = 0.15,
    masking: Variant = use("tokens"),
    replacement: Variant = use("mask"),
) -> Objective:
    """The objective.

    Args:
      mask_rate: share of a row's text tokens that are predicted, rounded to the nearest count, at least one; or a file
        of bert_jax/objectives/rates: how it changes over the run.
      masking: a file of bert_jax/objectives/masking: which tokens are predicted.
      replacement: a file of bert_jax/objectives/replacement: what is shown instead.
    """
    draw, needs = drawing(vocabulary, mask_rate, masking, replacement)

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        """As `drawing`'s, with target_weights that add up to 1."""
        return shared_out(draw(batch, key))

    def loss(params: dict, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        """The weighted sum of −log p(target), and the accuracy."""
        del constants
        hidden = encode(model, params, batch, key, batch["target_positions"])
        logits = mlm_head.padded_logits(model, params, hidden)
        loss, accuracy = cross_entropy(logits, batch["targets"], batch["target_weights"])
        return loss, {"accuracy": accuracy}

    return Objective(corrupt, loss, needs)


def drawing(
    vocabulary: Vocabulary, mask_rate: float | Variant, masking: Variant, replacement: Variant
) -> tuple[Callable[[Batch, jax.Array], Batch], tuple[str, ...]]:
    """What draws the predicted tokens of each row, and the batch fields that it needs; arguments as of `build`.

    `draw(batch, key) -> batch` adds target_positions, targets and target_units (int [B, P], the last where the unit of
    each starts) and target_weights (float [B, P], 1 for what is predicted, else 0), and changes the tokens there.
    """
    rate = rate_of(mask_rate)
    choose, needs = load("bert_jax.objectives.masking", masking)()
    replace, also_needs = load("bert_jax.objectives.replacement", replacement)(vocabulary)

    def draw(batch: Batch, key: jax.Array) -> Batch:
        choose_key, replace_key = jax.random.split(key)
        tokens = jnp.asarray(batch["tokens"], jnp.int32)
        candidates = is_text(tokens, batch["segments"], vocabulary)
        chosen = choose(batch, candidates, budget(candidates, now(rate, batch), rate.highest), choose_key)
        targets = jnp.take_along_axis(tokens, chosen.places, axis=1)
        shown = jnp.where(chosen.weights > 0, replace(targets, chosen, batch, replace_key), targets)
        put = lambda row, places, shown: row.at[places].set(shown, unique_indices=True)
        drawn = {
            "tokens": jax.vmap(put)(tokens, chosen.places, shown),
            "target_positions": chosen.places,
            "targets": targets,
            "target_weights": chosen.weights,
            "target_units": chosen.units,
        }
        return batch | drawn

    return draw, tuple(dict.fromkeys((*needs, *also_needs)))


def shared_out(batch: Batch) -> Batch:
    """The global batch with its target_weights divided by their total."""
    return batch | {"target_weights": normalized(batch["target_weights"])}


def is_text(tokens: jax.Array, segments: jax.Array, vocabulary: Vocabulary) -> jax.Array:
    """bool [B, L]: neither padding nor [CLS] nor [SEP]."""
    return (segments > 0) & (tokens != vocabulary.cls) & (tokens != vocabulary.sep) & (tokens != vocabulary.pad)
