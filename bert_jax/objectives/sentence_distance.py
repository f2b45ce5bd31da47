"""How far two texts are from each other (ERNIE 2.0, Sun et al. 2019, arXiv 1907.12412, section 4.2.2).

They are neighbours, or of one document, or of two: the rows' choice, data.rows=segment_pair or sentence_pair with
label="distance".
"""

from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling import heads
from bert_jax.modeling.bert import encode
from bert_jax.modeling.heads import pooler
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, _own_head, normalized
from bert_jax.objectives._cross_entropy import cross_entropy

HEAD, LABEL = "distance_head", "distance_label"


def parts(model: Model) -> Parts:
    """The pooler, and the head that reads it: neighbours, one document, two documents."""
    return {**heads.parts(model, "pooler"), HEAD: _own_head.part(model, 3)}


def exported(model: Model) -> dict[str, str]:
    """The head's names."""
    return _own_head.exported(HEAD, model)


def build(model: Model, vocabulary: Vocabulary) -> Objective:
    """The objective; it has no options."""
    del vocabulary

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        """Adds pair_weights (float [B], of sum 1) of the rows that are not padding; nothing is hidden."""
        del key
        return batch | {"pair_weights": normalized((batch["segments"] > 0).any(1).astype(jnp.float32))}

    def loss(params: dict, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        """The mean of −log p over the pairs, and the accuracy."""
        del constants
        hidden = encode(model, params, batch, key, jnp.zeros_like(batch[LABEL])[:, None])  # [CLS]
        choice = _own_head.logits(model, params, HEAD, pooler.pool(model, params, hidden))
        loss, accuracy = cross_entropy(choice, batch[LABEL], batch["pair_weights"])
        return loss, {"accuracy": accuracy}

    return Objective(corrupt, loss, (LABEL,))
