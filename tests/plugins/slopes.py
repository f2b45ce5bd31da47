"""A position scheme outside the package: in each layer, each head learns how much less it sees of what is further away.

Linear biases (Press et al. 2021, arXiv 2108.12409) with learned slopes, both directions alike.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.kernels import Bias, Needs
from bert_jax.modeling.positions import Form, Positions


def build(model: Model, *, start: float = 0.5) -> Positions:
    """The scheme; `start` is the slope of the first head in a fresh model, and each head's is half the one before."""
    return Slopes(model, start)


class Learned(nnx.Module):
    """One slope a head."""

    def __init__(self, heads: int, start: float):
        self.slope = nnx.Param(start * 0.5 ** jnp.arange(heads, dtype=jnp.float32), axes=("heads",))


@dataclasses.dataclass(frozen=True)
class Sloped(Form):
    """A bias by distance."""

    length: int
    needs: Needs = "bias"

    def addition(self, tables: Any, own: Learned) -> Bias:
        distances = jnp.abs(jnp.arange(1 - self.length, self.length))
        return Bias(-own.slope[...][:, None] * distances)


@dataclasses.dataclass(frozen=True)
class Slopes(Positions):
    """Slopes in each layer; nothing is added to the embeddings."""

    start: float

    def own(self, rngs: nnx.Rngs) -> Learned:
        return Learned(self.model.heads, self.start)

    def forms(self, length: int, local: bool = False) -> tuple[Form, ...]:
        return (Sloped(length),)
