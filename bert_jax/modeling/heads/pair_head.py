"""Two logits for a pair of texts: next sentence, or sentence order."""

import jax

from bert_jax.config import Model
from bert_jax.modeling.heads import _linear
from bert_jax.modeling.parts import Part


def build(model: Model) -> Part:
    """The head; it has no options."""
    return _linear.part(model, 2)


def logits(model: Model, params: dict, pooled: jax.Array) -> jax.Array:
    """pooled [B, D] → float32 [B, 2]."""
    return _linear.logits(model, params["pair_head"], pooled)
