"""Replaced-token detection (ELECTRA, Clark et al. 2020, arXiv 2003.10555).

A generator, small and trained as a masked language model, guesses the hidden tokens; the encoder, which is the
discriminator, says of every token whether it is original. A correct guess counts as original. Both train
together, on embeddings that they share, but the discriminator's loss does not reach the generator's own weights.

The paper's two stages (section 3.2, "two-stage") begin with a run of `mlm` at the generator's sizes.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling import heads
from bert_jax.modeling.bert import encode
from bert_jax.modeling.heads import discriminator_head
from bert_jax.modeling.layers import split_key
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, _generator, mlm, normalized
from configuration.variants import Variant, use


def parts(model: Model, *, generator_size: float = 0.25, generator_layers: int = 0) -> Parts:
    """The discriminator's head, and the generator's own parts."""
    generator = _generator.generator_model(model, generator_size, generator_layers)
    return {**heads.parts(model, "discriminator_head"), "generator": _generator.part(generator)}


def encoders(
    model: Model, params: Mapping[str, Any], *, generator_size: float = 0.25, generator_layers: int = 0
) -> dict[str, tuple[Model, dict]]:
    """The generator as an encoder of its own, with its masked-language-model head."""
    generator = _generator.generator_model(model, generator_size, generator_layers)
    return {"generator": (generator, _generator.parameters(dict(params)))}


def build(
    model: Model,
    vocabulary: Vocabulary,
    *,
    mask_rate: float | Variant = 0.15,
    masking: Variant = use("tokens"),
    replacement: Variant = use("mask", masked=0.85, random=0.0),
    generator_size: float = 0.25,
    generator_layers: int = 0,
    discriminator_weight: float = 50.0,
    discriminated: Literal["all", "predicted"] = "all",
) -> Objective:
    """The objective.

    Args:
      mask_rate, masking, replacement: as in mlm.py, of what the generator sees; 15% of the predicted tokens stay as
        they are, as in the authors' code.
      generator_size: width, heads and feed-forward units of the generator as a share of the encoder's.
      generator_layers: of the generator; 0 for as many as the encoder has.
      discriminator_weight: of the discriminator's mean loss beside the generator's.
      discriminated: whether the discriminator's loss is over all tokens but padding, or over those that the generator
        predicts (the paper's "ELECTRA 15%").
    """
    generator = _generator.generator_model(model, generator_size, generator_layers)
    draw, needs = drawing(vocabulary, mask_rate, masking, replacement)

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        """As `drawing`'s; adds discriminator_weights (float [B, L], of sum 1)."""
        drawn = draw(batch, key)
        judged = jnp.asarray(batch["segments"] > 0, jnp.float32)
        if discriminated == "predicted":
            judged = _generator.put(jnp.zeros_like(judged), drawn["target_positions"], drawn["target_weights"])
        return drawn | {"discriminator_weights": normalized(judged)}

    def loss(params: dict, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        """The sum of both losses; its accuracy is the generator's.

        Metrics of the discriminator, as shares of the tokens that it judges: rtd_accuracy, `replaced` tokens, and
        those of them that it `detected`.
        """
        del constants
        generator_key, discriminator_key = split_key(key, 2)
        guesses = _generator.guess(generator, params, batch, generator_key)
        hidden = encode(model, params, guesses.batch, discriminator_key)
        logits = discriminator_head.logits(model, params, hidden)
        replaced, weights = guesses.batch["replaced"], batch["discriminator_weights"]
        rtd_loss = (jax.nn.softplus(jnp.where(replaced, -logits, logits)) * weights).sum()
        metrics = {
            "accuracy": guesses.accuracy,
            "mlm_loss": guesses.loss,
            "rtd_loss": rtd_loss,
            "rtd_accuracy": (((logits > 0) == replaced) * weights).sum(),
            "replaced": (replaced * weights).sum(),
            "detected": ((replaced & (logits > 0)) * weights).sum(),
        }
        return guesses.loss + discriminator_weight * rtd_loss, metrics

    return Objective(corrupt, loss, needs)


def drawing(
    vocabulary: Vocabulary, mask_rate: float | Variant, masking: Variant, replacement: Variant
) -> tuple[Callable[[Batch, jax.Array], Batch], tuple[str, ...]]:
    """What corrupts a batch for the generator, and the batch fields that it needs; arguments as of `build`.

    `draw(batch, key) -> batch` is mlm.py's `corrupt`, and adds sample_keys (uint32 [B, 2]), for the guesses.
    """
    draw, needs = mlm.drawing(vocabulary, mask_rate, masking, replacement)

    def draw_with_keys(batch: Batch, key: jax.Array) -> Batch:
        draw_key, sample_key = jax.random.split(key)
        keys = _generator.row_keys(sample_key, len(batch["tokens"]))
        return mlm.shared_out(draw(batch, draw_key)) | {"sample_keys": keys}

    return draw_with_keys, needs
