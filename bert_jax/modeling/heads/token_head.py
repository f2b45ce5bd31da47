"""Logits of each token (BertForTokenClassification)."""

import jax

from bert_jax.config import Model
from bert_jax.modeling.heads import _linear
from bert_jax.modeling.parts import Part


def build(model: Model, *, outputs: int = 2) -> Part:
    """The head with this many outputs."""
    return _linear.part(model, outputs)


def logits(model: Model, params: dict, hidden: jax.Array) -> jax.Array:
    """hidden [..., D] → float32 [..., outputs]."""
    return _linear.logits(model, params["token_head"], hidden)
