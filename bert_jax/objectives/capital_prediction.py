"""Whether a word begins with a capital (ERNIE 2.0, Sun et al. 2019, arXiv 1907.12412, section 4.2.1).

Departs from the paper, whose vocabulary has no capitals: a cased token shows the answer, so it is asked of words that
stand behind [MASK].
"""

from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling.bert import encode
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, _own_head, mlm, normalized
from bert_jax.objectives._cross_entropy import cross_entropy
from configuration.variants import Variant, use

HEAD, LABELS = "capital_head", "capital_letters"


def parts(model: Model) -> Parts:
    """The head: small or capital."""
    return {HEAD: _own_head.part(model, 2)}


def exported(model: Model) -> dict[str, str]:
    """The head's names."""
    return _own_head.exported(HEAD, model)


def build(
    model: Model,
    vocabulary: Vocabulary,
    *,
    mask_rate: float | Variant = 0.15,
    masking: Variant = use("whole_words"),
) -> Objective:
    """The objective. Its rows need the annotation capital_letters.

    Args:
      mask_rate, masking: as in mlm.py: which words are asked for, each of them behind [MASK].
    """
    draw, needs = mlm.drawing(vocabulary, mask_rate, masking, use("mask", masked=1.0, random=0.0))

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        """As mlm.py's `drawing`; targets are 0 for small and 1 for capital letters, without weight for neither."""
        drawn = draw(batch, key)
        labels = jnp.take_along_axis(batch[LABELS].astype(jnp.int32), drawn["target_positions"], axis=1)
        asked = drawn["target_weights"] * (labels > 0)
        return drawn | {"targets": jnp.maximum(labels - 1, 0), "target_weights": normalized(asked)}

    def loss(params: dict, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        """The mean of −log p over the words that are asked for, and the accuracy."""
        del constants
        hidden = encode(model, params, batch, key, batch["target_positions"])
        choice = _own_head.logits(model, params, HEAD, hidden)
        loss, accuracy = cross_entropy(choice, batch["targets"], batch["target_weights"])
        return loss, {"accuracy": accuracy}

    return Objective(corrupt, loss, tuple(dict.fromkeys((*needs, LABELS))))
