"""Rotary positions (RoFormer, Su et al. 2021, arXiv 2104.09864, section 3.2).

Each pair of numbers (2m, 2m + 1) of a query or key is turned by its position times w_m = base^(−2m/H), so that a
score depends on the distance of the two alone.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling.positions import Form, Positions, Triple
from bert_jax.modeling.positions._sinusoids import check_pairs, rotate, sinusoids
from configuration.variants import ConfigError


def build(model: Model, *, base: float = 10000.0, local_base: float = 0.0) -> Positions:
    """The scheme.

    Args:
      base: the slowest pair turns by about 1 / base radians a token; larger ones are used for longer rows.
      local_base: the base of layers that attend within `model.window` (ModernBERT: 10,000 beside 160,000 of the global
        layers, arXiv 2412.13663, appendix A); 0 for that of the others.
    """
    if base <= 1:
        raise ConfigError(f"config.model.positions.base is {base}; it must be above 1")
    if local_base != 0 and local_base <= 1:
        raise ConfigError(
            f"config.model.positions.local_base is {local_base}; it must be above 1, or 0 for that of base"
        )
    if local_base and not model.window:
        raise ConfigError(
            f"config.model.positions.local_base is {local_base}; it must be 0 without config.model.window"
        )
    check_pairs(model)
    return Rotary(model, base, local_base)


class Tables(NamedTuple):
    """Float32 [B, L, H] each: the sinusoids of keys and of queries."""

    keys: jax.Array
    queries: jax.Array


@dataclasses.dataclass(frozen=True)
class Turned(Form):
    """Queries and keys turned by their positions, in every layer and head alike; values are left alone."""

    head_size: int
    base: float

    def tables(self, positions: jax.Array, shared: Any) -> Tables:
        table = sinusoids(positions, self.head_size, self.base)
        return Tables(table, table)

    def select_queries(self, tables: Tables, places: jax.Array) -> Tables:
        return tables._replace(queries=jnp.take_along_axis(tables.queries, places[..., None], axis=1))

    def transform_qkv(self, q: jax.Array, k: jax.Array, v: jax.Array, tables: Tables, own: Any) -> Triple:
        return rotate(q, tables.queries, 1), rotate(k, tables.keys, 1), v


@dataclasses.dataclass(frozen=True)
class Rotary(Positions):
    """No parameters; one form."""

    base: float
    local_base: float

    def forms(self, length: int, local: bool = False) -> tuple[Form, ...]:
        return (Turned(self.model.head_size, self.local_base if local and self.local_base else self.base),)
