"""A logit of each candidate, from its pooled vector (BertForMultipleChoice)."""

import jax

from bert_jax.config import Model
from bert_jax.modeling.heads import _linear
from bert_jax.modeling.parts import Part


def build(model: Model) -> Part:
    """The head; it has no options."""
    return _linear.part(model, 1)


def logits(model: Model, params: dict, pooled: jax.Array) -> jax.Array:
    """pooled [..., D] → float32 [...]."""
    return _linear.logits(model, params["choice_head"], pooled)[..., 0]
