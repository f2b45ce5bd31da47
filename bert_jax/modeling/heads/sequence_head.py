"""Logits of a text or a pair of texts, from its pooled vector: classes, or a number (BertForSequenceClassification)."""

import jax

from bert_jax.config import Model
from bert_jax.modeling.heads import _linear
from bert_jax.modeling.parts import Part


def build(model: Model, *, outputs: int = 2, vectors: int = 1) -> Part:
    """The head with this many outputs, over so many vectors of width D side by side."""
    return _linear.part(model, outputs, vectors)


def logits(model: Model, params: dict, pooled: jax.Array) -> jax.Array:
    """pooled [..., vectors · D] → float32 [..., outputs]."""
    return _linear.logits(model, params["sequence_head"], pooled)
