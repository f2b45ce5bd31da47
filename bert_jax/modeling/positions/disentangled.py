"""Disentangled attention (DeBERTa, He et al. 2020, arXiv 2006.03654, section 3.1; buckets and shared keys as in v2).

One table of vectors by distance serves all layers. Each layer projects it to keys, which are multiplied with the
layer's queries (content to position), and to queries, which are multiplied with its keys (position to content). With
the product of content and content, up to three terms make a score, whose scale is 1/√(terms · H). Each short distance
has a row of the table; further away ever more distances share one, up to `max_distance`. Nothing is added to the
embeddings. The table has no dropout here; the class in transformers drops out its numbers in each layer.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.kernels import Needs, Products
from bert_jax.modeling.layers import Dense, LayerNorm, truncated_normal
from bert_jax.modeling.positions import Form, Positions, Projection, Triple
from configuration.variants import ConfigError


def build(
    model: Model,
    *,
    buckets: int = 256,
    max_distance: int = 512,
    share_keys: bool = True,
    normalised: bool = True,
    content_to_position: bool = True,
    position_to_content: bool = True,
) -> Positions:
    """The scheme; the defaults are DeBERTa-v3's.

    Args:
      buckets: rows of the table to each side; 0 for a row for each distance up to `max_distance`.
      max_distance: in tokens, from which on all distances to one side share a row.
      share_keys: project the table by the layer's own query and key projections, or else by further ones.
      normalised: LayerNorm of the table.
      content_to_position: multiply queries with the table.
      position_to_content: multiply keys with the table.
    """
    if buckets < 0 or buckets == 1:
        raise ConfigError(f"config.model.positions.buckets is {buckets}; it must be 0 (none) or at least 2")
    if max_distance < 1 or (buckets and max_distance <= buckets // 2 + 1):
        least = f"above {buckets // 2 + 1}, half of buckets={buckets} and one more" if buckets else "at least 1"
        raise ConfigError(f"config.model.positions.max_distance is {max_distance}; it must be {least}")
    if not content_to_position and not position_to_content:
        raise ConfigError(
            "config.model.positions.content_to_position is False; it must be True without position_to_content"
        )
    return Disentangled(model, buckets, max_distance, share_keys, normalised, content_to_position, position_to_content)


class Table(nnx.Module):
    """One vector for each row of distances, and their LayerNorm."""

    def __init__(self, model: Model, rngs: nnx.Rngs, rows: int, normalised: bool):
        table = truncated_normal(rngs.params(), (rows, model.width), model.init_std)
        self.embedding = nnx.Param(table, axes=(None, "embed"))
        self.norm = LayerNorm(model) if normalised else None

    def __call__(self, first: int, last: int) -> jax.Array:
        """The rows from `first` to `last`, float32 [R, D]."""
        table = self.embedding[first : last + 1]
        return table if self.norm is None else self.norm(table)


class Projections(nnx.Module):
    """A layer's own projections of the table, where it does not share those of the content."""

    def __init__(self, model: Model, rngs: nnx.Rngs, keys: bool, queries: bool):
        shape, axes = (model.width, model.heads, model.head_size), ("embed", "heads", None)
        self.key = Dense(shape, axes, model, rngs) if keys else None
        self.query = Dense(shape, axes, model, rngs) if queries else None


@dataclasses.dataclass(frozen=True)
class Disentangled(Positions):
    """The table once, and, without `share_keys`, projections in each layer."""

    buckets: int
    max_distance: int
    share_keys: bool
    normalised: bool
    content_to_position: bool
    position_to_content: bool

    @property
    def side(self) -> int:
        """Rows of the table to each side."""
        return self.buckets or self.max_distance

    def shared(self, rngs: nnx.Rngs) -> Table:
        return Table(self.model, rngs, 2 * self.side, self.normalised)

    def own(self, rngs: nnx.Rngs) -> Projections | None:
        if self.share_keys:
            return None
        return Projections(self.model, rngs, self.content_to_position, self.position_to_content)

    def forms(self, length: int, local: bool = False) -> tuple[Form, ...]:
        return (InKernel(self, length),)


class Tables(NamedTuple):
    """The rows of the table that distances within a row of tokens have."""

    vectors: jax.Array  # float32 [R, D]
    keys: jax.Array | None = None  # [R, N, H] each, by the layer's projections of the content
    queries: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class InKernel(Form):
    """All in a kernel that knows products by distance."""

    scheme: Disentangled
    length: int
    needs: Needs = "products"

    @property
    def shrink(self) -> float:
        """Factor by which scores are smaller than those of content alone."""
        return (1 + self.scheme.content_to_position + self.scheme.position_to_content) ** -0.5

    @property
    def rows(self) -> np.ndarray:
        """Of the table, by distance key − query from 1 − L to L − 1."""
        return row_of(np.arange(self.length - 1, -self.length, -1), self.scheme.buckets, self.scheme.max_distance)

    def tables(self, positions: jax.Array, shared: Table) -> Tables:
        rows = self.rows  # distances within a document do not depend on where it starts
        return Tables(shared(rows.min(), rows.max()))

    def of_layer(self, tables: Tables, query: Projection, key: Projection) -> Tables:
        if not self.scheme.share_keys:
            return tables
        return tables._replace(
            keys=key(tables.vectors) if self.scheme.content_to_position else None,
            queries=query(tables.vectors) if self.scheme.position_to_content else None,
        )

    def transform_qkv(self, q: jax.Array, k: jax.Array, v: jax.Array, tables: Any, own: Any) -> Triple:
        return q * self.shrink, k, v

    def addition(self, tables: Tables, own: Projections | None) -> Products:
        keys, queries = tables.keys, tables.queries
        if own is not None:
            keys = None if own.key is None else own.key(tables.vectors)
            queries = None if own.query is None else own.query(tables.vectors)
        rows = jnp.asarray(self.rows - self.rows.min())
        return Products(rows, keys, None if queries is None else queries * self.shrink)


def row_of(distances: np.ndarray, buckets: int, max_distance: int) -> np.ndarray:
    """int of any shape, query − key → the number of its row of the table."""
    side = buckets or max_distance
    bucket = bucket_of(distances, buckets, max_distance) if buckets else distances
    return np.clip(bucket + side, 0, 2 * side - 1)


def bucket_of(distances: np.ndarray, buckets: int, max_distance: int) -> np.ndarray:
    """int of any shape → int: itself up to half of `buckets`, beyond that one number for ever more distances."""
    exact, apart = buckets // 2, np.abs(distances)
    steps = np.log(np.maximum(apart, exact).astype(np.float32) / np.float32(exact)) / np.log(
        np.float32((max_distance - 1) / exact)
    )  # in float32, as released checkpoints were trained
    wide = exact + np.ceil(steps * np.float32(exact - 1)).astype(int)
    return np.sign(distances) * np.where(apart <= exact, apart, wide)
