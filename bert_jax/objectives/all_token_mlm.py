"""Every token predicted from a generator's guesses (Clark et al. 2020, section 3.4, "All-Tokens MLM").

As ELECTRA, but the encoder predicts each token of the text. It copies what it reads with a probability of its own, D,
and gives the rest to its softmax: p(x) = D [x is what stands there] + (1 − D) softmax(x).
"""

from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling import heads
from bert_jax.modeling.bert import encode
from bert_jax.modeling.heads import mlm_head
from bert_jax.modeling.heads.discriminator_head import DiscriminatorHead
from bert_jax.modeling.layers import bind, split_key
from bert_jax.modeling.parts import Parts, of_module
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, _generator, electra, normalized
from configuration.variants import Variant, use

encoders = electra.encoders


def parts(model: Model, *, generator_size: float = 0.25, generator_layers: int = 0) -> Parts:
    """The encoder's masked-language-model head, what decides to copy, and the generator's own parts."""
    generator = _generator.generator_model(model, generator_size, generator_layers)
    own = {"copy_head": of_module(DiscriminatorHead, model), "generator": _generator.part(generator)}
    return {**heads.parts(model, "mlm_head"), **own}


def build(
    model: Model,
    vocabulary: Vocabulary,
    *,
    mask_rate: float | Variant = 0.15,
    masking: Variant = use("tokens"),
    replacement: Variant = use("mask", masked=0.85, random=0.0),
    generator_size: float = 0.25,
    generator_layers: int = 0,
    weight: float = 1.0,
) -> Objective:
    """The objective; its options are those of electra.py.

    Args:
      weight: of the mean loss over all tokens beside the generator's.
    """
    generator = _generator.generator_model(model, generator_size, generator_layers)
    draw, needs = electra.drawing(vocabulary, mask_rate, masking, replacement)

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        """As electra.py's; adds text (int [B, L]), as it was, and token_weights (float [B, L], of sum 1)."""
        real = jnp.asarray(batch["segments"] > 0, jnp.float32)
        return draw(batch, key) | {"text": batch["tokens"].astype(jnp.int32), "token_weights": normalized(real)}

    def loss(params: dict, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        """The sum of both losses; the accuracy is the generator's."""
        del constants
        generator_key, own_key = split_key(key, 2)
        guesses = _generator.guess(generator, params, batch, generator_key)
        hidden = encode(model, params, guesses.batch, own_key)
        logits = mlm_head.padded_logits(model, params, hidden)
        copies = bind(DiscriminatorHead, model, params["copy_head"])(hidden)
        at_text = jnp.take_along_axis(logits, batch["text"][..., None], axis=-1)[..., 0]
        softmax = at_text - jax.nn.logsumexp(logits, axis=-1) - jax.nn.softplus(copies)
        log_p = jnp.where(guesses.batch["replaced"], softmax, jnp.logaddexp(-jax.nn.softplus(-copies), softmax))
        own_loss = -(log_p * batch["token_weights"]).sum()
        metrics = {"accuracy": guesses.accuracy, "mlm_loss": guesses.loss, "all_token_loss": own_loss}
        return guesses.loss + weight * own_loss, metrics

    return Objective(corrupt, loss, needs)
