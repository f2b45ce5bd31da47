"""A position scheme outside the package that is bert_jax/modeling/positions/rotary.py by another name."""

from bert_jax.config import Model
from bert_jax.modeling.positions import Positions, rotary


def build(model: Model) -> Positions:
    """The scheme."""
    return rotary.build(model)
