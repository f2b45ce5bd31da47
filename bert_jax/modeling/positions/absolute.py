"""Learned absolute positions, added to the embeddings (Devlin et al. 2018, section 3)."""

import jax
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.layers import truncated_normal
from bert_jax.modeling.positions import Positions


def build(model: Model) -> Positions:
    """The scheme; it has no options."""
    return Absolute(model)


class Table(nnx.Module):
    """One learned vector for each position below `max_length`."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        table = truncated_normal(rngs.params(), (model.max_length, model.table_width), model.init_std)
        self.embedding = nnx.Param(table, axes=(None, "embed"))


class Absolute(Positions):
    """The vectors of `Table`, added to the words'."""

    @property
    def longest(self) -> int:
        return self.model.max_length

    def shared(self, rngs: nnx.Rngs) -> Table:
        return Table(self.model, rngs)

    def embed(self, positions: jax.Array, shared: Table) -> jax.Array:
        return shared.embedding[...][positions]
