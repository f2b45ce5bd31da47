"""Masked language modelling of a generator's guesses, without [MASK] (Clark et al. 2020, section 3.4, "Replace MLM").

As ELECTRA, but the encoder predicts the tokens that the generator predicts, from text where its guesses replace them.
"""

from typing import Any

import jax

from bert_jax.config import Model
from bert_jax.modeling import heads
from bert_jax.modeling.bert import encode
from bert_jax.modeling.heads import mlm_head
from bert_jax.modeling.layers import split_key
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, _generator, electra
from bert_jax.objectives._cross_entropy import cross_entropy
from configuration.variants import Variant, use

encoders = electra.encoders


def parts(model: Model, *, generator_size: float = 0.25, generator_layers: int = 0) -> Parts:
    """The encoder's masked-language-model head, and the generator's own parts."""
    generator = _generator.generator_model(model, generator_size, generator_layers)
    return {**heads.parts(model, "mlm_head"), "generator": _generator.part(generator)}


def build(
    model: Model,
    vocabulary: Vocabulary,
    *,
    mask_rate: float | Variant = 0.15,
    masking: Variant = use("tokens"),
    replacement: Variant = use("mask", masked=0.85, random=0.0),
    generator_size: float = 0.25,
    generator_layers: int = 0,
) -> Objective:
    """The objective; its options are those of electra.py."""
    generator = _generator.generator_model(model, generator_size, generator_layers)
    corrupt, needs = electra.drawing(vocabulary, mask_rate, masking, replacement)

    def loss(params: dict, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        """The sum of both losses; the accuracy is the encoder's."""
        del constants
        generator_key, own_key = split_key(key, 2)
        guesses = _generator.guess(generator, params, batch, generator_key)
        hidden = encode(model, params, guesses.batch, own_key, batch["target_positions"])
        logits = mlm_head.padded_logits(model, params, hidden)
        own_loss, accuracy = cross_entropy(logits, batch["targets"], batch["target_weights"])
        metrics = {"accuracy": accuracy, "generator_loss": guesses.loss, "generator_accuracy": guesses.accuracy}
        return guesses.loss + own_loss, metrics | {"mlm_loss": own_loss}

    return Objective(corrupt, loss, needs)
