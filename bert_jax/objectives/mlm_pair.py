"""Masked language modelling and a decision on a pair of texts (Devlin et al. 2018, section 3.1, tasks 1 and 2).

Whether the second text follows the first (next sentence) or they changed places (sentence order, ALBERT) is the rows'
choice: data.rows=segment_pair or sentence_pair, their option `label`. The loss is the mean over the predicted tokens
plus the mean over the pairs, as in BERT.
"""

from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling import heads
from bert_jax.modeling.bert import encode
from bert_jax.modeling.heads import mlm_head, pair_head, pooler
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, mlm, normalized
from bert_jax.objectives._cross_entropy import cross_entropy
from configuration.variants import Variant, use


def parts(model: Model) -> Parts:
    """The masked-language-model head, the pooler, and the head that reads it."""
    return heads.parts(model, "mlm_head", "pooler", "pair_head")


def build(
    model: Model,
    vocabulary: Vocabulary,
    *,
    mask_rate: float | Variant = 0.15,
    masking: Variant = use("tokens"),
    replacement: Variant = use("mask"),
    pair_weight: float = 1.0,
) -> Objective:
    """The objective.

    Args:
      mask_rate, masking, replacement: as in mlm.py.
      pair_weight: of the pairs' mean loss beside the tokens'.
    """
    alone = mlm.build(model, vocabulary, mask_rate=mask_rate, masking=masking, replacement=replacement)

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        """As mlm.py's; adds pair_weights (float [B]) of the rows that are not padding."""
        real = (batch["segments"] > 0).any(1).astype(jnp.float32)
        return alone.corrupt(batch, key) | {"pair_weights": normalized(real)}

    def loss(params: dict, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        """As mlm.py's plus that of the pairs, and pair_loss and pair_accuracy."""
        del constants
        first = jnp.zeros_like(batch["target_positions"][:, :1])  # [CLS]
        hidden = encode(model, params, batch, key, jnp.concatenate([first, batch["target_positions"]], axis=1))
        logits = mlm_head.padded_logits(model, params, hidden[:, 1:])
        token_loss, accuracy = cross_entropy(logits, batch["targets"], batch["target_weights"])
        choice = pair_head.logits(model, params, pooler.pool(model, params, hidden))
        pair_loss, pair_accuracy = cross_entropy(choice, batch["pair_label"], batch["pair_weights"])
        metrics = {"accuracy": accuracy, "pair_loss": pair_loss, "pair_accuracy": pair_accuracy}
        return token_loss + pair_weight * pair_loss, metrics

    return Objective(corrupt, loss, (*alone.needs, "pair_label"))
