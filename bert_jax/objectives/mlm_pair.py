"""Masked language modelling and a decision on a pair of texts (Devlin et al. 2018, section 3.1, tasks 1 and 2).

Whether the second text follows the first (next sentence) or they changed places (sentence order, ALBERT) is the rows'
choice: data.rows=segment_pair or sentence_pair, their option `label`. The loss is the mean over the predicted tokens
plus the mean over the pairs, as in BERT.
"""

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling import heads
from bert_jax.modeling.bert import encode
from bert_jax.modeling.heads import padded_mlm_logits, pair_logits, pool
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Means, Objective, Vocabulary, mlm
from bert_jax.objectives._cross_entropy import cross_entropy


def parts(model: Model) -> Parts:
    """The masked-language-model head, the pooler, and the head that reads it."""
    return heads.parts(model, "mlm_head", "pooler", "pair_head")


def build(
    model: Model,
    vocabulary: Vocabulary,
    *,
    mask_rate: float = 0.15,
    masked: float = 0.8,
    random: float = 0.1,
    whole_words: bool = False,
    pair_weight: float = 1.0,
) -> Objective:
    """The objective.

    Args:
      mask_rate, masked, random, whole_words: as in mlm.py.
      pair_weight: of the pairs' mean loss beside the tokens'.
    """
    alone = mlm.build(model, vocabulary, mask_rate=mask_rate, masked=masked, random=random, whole_words=whole_words)

    def loss(params: dict, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, jax.Array, Means]:
        """As mlm.py's, and pair_loss and pair_accuracy over the rows that are not padding.

        A pair counts as much as the predictions of a full row: the sums divided by the weight are then the two means
        (of short rows, which have fewer predictions, the pairs weigh a little more), and microbatches add up exactly.
        """
        first = jnp.zeros_like(batch["target_places"][:, :1])  # [CLS]
        hidden = encode(model, params, batch, key, jnp.concatenate([first, batch["target_places"]], axis=1))
        logits = padded_mlm_logits(model, params, hidden[:, 1:])
        total, weight, means = cross_entropy(logits, batch["targets"], batch["target_weights"])
        real = (batch["segments"] > 0).any(1).astype(jnp.float32)
        choice = pair_logits(model, params, pool(model, params, hidden))
        pair_loss, pairs, of_pairs = cross_entropy(choice, batch["pair_label"], real)
        means |= {"pair_loss": (pair_loss, pairs), "pair_accuracy": of_pairs["accuracy"]}
        return total + pair_weight * batch["target_places"].shape[1] * pair_loss, weight, means

    return Objective(alone.corrupt, loss, (*alone.needs, "pair_label"))
