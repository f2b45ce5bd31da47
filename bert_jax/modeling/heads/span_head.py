"""Two logits of each token: that an answer starts there, and that it ends there (BertForQuestionAnswering)."""

import jax

from bert_jax.config import Model
from bert_jax.modeling.heads import _linear
from bert_jax.modeling.parts import Part


def build(model: Model) -> Part:
    """The head; it has no options."""
    return _linear.part(model, 2)


def logits(model: Model, params: dict, hidden: jax.Array) -> jax.Array:
    """hidden [..., D] → float32 [..., 2]."""
    return _linear.logits(model, params["span_head"], hidden)
