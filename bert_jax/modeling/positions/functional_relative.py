"""Functional relative positions (NEZHA, Wei et al. 2019, arXiv 1909.00204, section 3.1).

A parameter-free sinusoid R(j − i) of the distance from query i to key j is added to every key and every
value. Without clipping the angle-sum identities turn that into ordinary attention with heads twice as wide:

    q_i · R(j−i)   = rotate(q_i, −i) · S_j
    Σ_j P_ij R(j−i) = rotate(Σ_j P_ij S_j, +i)            S_j: the sinusoid of position j

so any kernel serves, and no array of shape [L, L, H] exists. A kernel that knows sinusoids does it inside, and its
input's heads stay as wide as they are. Released checkpoints clip the distance to ±K and feed the shifted index
(j − i + K) to the sinusoid. The shift only turns every angle, so rows that no distance can leave (L ≤ K + 1) and
windows of at most K tokens still take the fast form; others need a kernel that takes sinusoids or a table of vectors.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling.kernels import Columns, Needs, Sinusoids, Vectors
from bert_jax.modeling.positions import Form, Positions, Triple
from bert_jax.modeling.positions._sinusoids import check_pairs, rotate, sinusoids
from configuration.variants import ConfigError


def build(model: Model, *, max_distance: int = 0) -> Positions:
    """The scheme.

    Args:
      max_distance: K in tokens, beyond which distances are clipped (64 in NEZHA's code and Chinese base model, 127 in
        the English one); 0 for no clipping.
    """
    if max_distance < 0:
        raise ConfigError(f"config.model.positions.max_distance is {max_distance}; it must be 0 (no clipping) or more")
    check_pairs(model)
    return FunctionalRelative(model, max_distance)


@dataclasses.dataclass(frozen=True)
class FunctionalRelative(Positions):
    """Relative vectors on keys and values, the same for every layer and head; no parameters."""

    max_distance: int

    def forms(self, length: int, local: bool = False) -> tuple[Form, ...]:
        size, distance = self.model.head_size, self.max_distance
        if not distance:
            return InKernel(0), SharedColumns(size, 0), WideHeads(size, 0)
        farthest = min(length - 1, self.model.window) if local else length - 1
        if farthest <= distance:
            return SharedColumns(size, distance), WideHeads(size, distance)
        return InKernel(distance), ByDistance(size, distance)


class Tables(NamedTuple):
    """Float32 [L, H] each: the sinusoid of keys, and that of queries, which are K further left."""

    keys: jax.Array
    queries: jax.Array


@dataclasses.dataclass(frozen=True)
class WideHeads(Form):
    """Ordinary attention with heads twice as wide, where no distance is clipped."""

    head_size: int
    shift: int  # K
    widening: int = 2

    def tables(self, positions: jax.Array, shared: Any) -> Tables:
        keys = jnp.arange(positions.shape[1])  # distances within a document do not depend on where it starts
        return Tables(sinusoids(keys, self.head_size), sinusoids(keys - self.shift, self.head_size))

    def select_queries(self, tables: Tables, places: jax.Array) -> Tables:
        return tables._replace(queries=tables.queries[places])

    def transform_qkv(self, q: jax.Array, k: jax.Array, v: jax.Array, tables: Tables, own: Any) -> Triple:
        keys = jnp.broadcast_to(tables.keys[:, None, :].astype(k.dtype), k.shape)
        q = jnp.concatenate([q, rotate(q, tables.queries, -1)], -1)
        return q, jnp.concatenate([k, keys], -1), jnp.concatenate([v, keys], -1)

    def transform_output(self, out: jax.Array, tables: Tables) -> jax.Array:
        own, sinusoid = jnp.split(out, 2, axis=-1)
        return own + rotate(sinusoid, tables.queries, 1)


@dataclasses.dataclass(frozen=True)
class SharedColumns(WideHeads):
    """The same, for a kernel that multiplies the sinusoids of all rows and heads at once."""

    widening: int = 1
    needs: Needs = "columns"

    def transform_qkv(self, q: jax.Array, k: jax.Array, v: jax.Array, tables: Tables, own: Any) -> Triple:
        return jnp.concatenate([q, rotate(q, tables.queries, -1)], -1), k, v

    def addition(self, tables: Tables, own: Any) -> Columns:
        return Columns(tables.keys)


@dataclasses.dataclass(frozen=True)
class InKernel(Form):
    """All in a kernel that knows sinusoids."""

    distance: int  # K, 0 for no clipping
    needs: Needs = "sinusoids"

    def addition(self, tables: Any, own: Any) -> Sinusoids:
        return Sinusoids(self.distance)


@dataclasses.dataclass(frozen=True)
class ByDistance(Form):
    """A table of vectors, one for each distance up to K."""

    head_size: int
    distance: int  # K
    needs: Needs = "vectors"

    def tables(self, positions: jax.Array, shared: Any) -> jax.Array:
        return sinusoids(jnp.arange(2 * self.distance + 1), self.head_size)

    def addition(self, tables: jax.Array, own: Any) -> Vectors:
        return Vectors(tables)
