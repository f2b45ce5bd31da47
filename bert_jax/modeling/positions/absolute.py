"""Learned absolute positions, added to the embeddings (Devlin et al. 2018, section 3)."""

import jax
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.layers import truncated_normal
from bert_jax.modeling.positions import Positions


def build() -> type[Positions]:
    """The scheme; it has no options."""
    return Absolute


class Absolute(Positions):
    """One learned vector for each position below `max_length`."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        table = truncated_normal(rngs.params(), (model.max_length, model.table_width), model.init_std)
        self.embedding = nnx.Param(table, axes=(None, "embed"))

    def embed(self, positions: jax.Array) -> jax.Array:
        return self.embedding[...][positions]
