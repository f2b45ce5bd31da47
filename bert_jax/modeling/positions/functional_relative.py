"""Functional relative positions (NEZHA, Wei et al. 2019, arXiv 1909.00204, section 3.1).

A parameter-free sinusoid R(j − i) of the distance from query i to key j is added to every key and every
value. Without clipping the angle-sum identities turn that into ordinary attention with heads twice as wide:

    q_i · R(j−i)   = rotate(q_i, −i) · S_j
    Σ_j P_ij R(j−i) = rotate(Σ_j P_ij S_j, +i)            S_j: the sinusoid of position j

so any kernel serves, and no array of shape [L, L, H] exists. A kernel that knows sinusoids does it inside, and its
input's heads stay as wide as they are. Released checkpoints clip the distance to ±K and feed the shifted index
(j − i + K) to the sinusoid. The shift only turns every angle, so rows that no distance can leave (L ≤ K + 1) still
take the fast form; longer ones need a kernel that takes a relative table.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.kernels import Relative
from bert_jax.modeling.positions import Positions
from bert_jax.modeling.positions._sinusoids import check_pairs, rotate, sinusoids
from configuration.variants import ConfigError


def build(*, max_distance: int = 0) -> type[Positions]:
    """The scheme.

    Args:
      max_distance: K in tokens, beyond which distances are clipped (64 in NEZHA's code and Chinese base model, 127 in
        the English one); 0 for no clipping.
    """
    if max_distance < 0:
        raise ConfigError(f"config.model.positions.max_distance is {max_distance}; it must be 0 (no clipping) or more")
    return functools.partial(FunctionalRelative, max_distance=max_distance)  # type: ignore[return-value]


Triple = tuple[jax.Array, jax.Array, jax.Array]


class Tables(NamedTuple):
    """Float32 [L, H] each: the sinusoid of keys, and that of queries, which are `max_distance` further left."""

    keys: jax.Array
    queries: jax.Array


class Whole(NamedTuple):
    """The sinusoids of the distances 1 − L … L − 1, for a kernel that takes them: float32 [2L−1, H]."""

    table: jax.Array


class FunctionalRelative(Positions):
    """Relative vectors on keys and values, the same for every layer and head."""

    def __init__(self, model: Model, rngs: nnx.Rngs, max_distance: int = 0):
        super().__init__(model, rngs)
        check_pairs(model)
        self.head_size = model.head_size
        self.max_distance = max_distance

    def tables(self, positions: jax.Array) -> Tables | Whole | jax.Array:
        length = positions.shape[1]  # distances within a document do not depend on where it starts
        if self.max_distance and length > self.max_distance + 1:
            return sinusoids(jnp.arange(2 * self.max_distance + 1), self.head_size)
        keys = jnp.arange(length)
        return Tables(sinusoids(keys, self.head_size), sinusoids(keys - self.max_distance, self.head_size))

    def unclipped(self, length: int) -> Whole | None:
        if self.max_distance:
            return None
        return Whole(sinusoids(jnp.arange(1 - length, length), self.head_size))

    def select_queries(self, tables: Tables | Whole | jax.Array, places: jax.Array) -> Tables | Whole | jax.Array:
        return tables._replace(queries=tables.queries[places]) if isinstance(tables, Tables) else tables

    def transform_qkv(self, q: jax.Array, k: jax.Array, v: jax.Array, tables: Tables | Whole | jax.Array) -> Triple:
        if not isinstance(tables, Tables):
            return q, k, v
        keys = jnp.broadcast_to(tables.keys[:, None, :].astype(k.dtype), k.shape)
        q = jnp.concatenate([q, rotate(q, tables.queries, -1)], -1)
        return q, jnp.concatenate([k, keys], -1), jnp.concatenate([v, keys], -1)

    def relative(self, tables: Tables | Whole | jax.Array) -> Relative | None:
        if isinstance(tables, Tables):
            return None
        return Relative(*tables, True, clipped=False) if isinstance(tables, Whole) else Relative(tables, True)

    def transform_output(self, out: jax.Array, tables: Tables | Whole | jax.Array) -> jax.Array:
        if not isinstance(tables, Tables):
            return out
        own, sinusoid = jnp.split(out, 2, axis=-1)
        return own + rotate(sinusoid, tables.queries, 1)
