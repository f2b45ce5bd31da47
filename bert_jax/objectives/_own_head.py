"""A linear head that one objective alone has, and its names in PyTorch's layout."""

import jax

from bert_jax.config import Model
from bert_jax.modeling.heads import _linear
from bert_jax.modeling.parts import Part


def part(model: Model, outputs: int) -> Part:
    """The head."""
    return _linear.part(model, outputs)


def logits(model: Model, params: dict, name: str, hidden: jax.Array) -> jax.Array:
    """hidden [..., D] → float32 [..., outputs], by the head of that name."""
    return _linear.logits(model, params[name], hidden)


def exported(name: str, model: Model) -> dict[str, str]:
    """The names of its arrays there."""
    return {f"{name}/kernel": f"{name}.weight"} | ({f"{name}/bias": f"{name}.bias"} if model.biases else {})
