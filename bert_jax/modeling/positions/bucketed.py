"""Learned absolute positions, and for each head a learned bias by bucket of distances (MPNet, Song et al. 2020).

arXiv 2004.09297; the buckets are T5's (Raffel et al. 2019, arXiv 1910.10683, section 2.1): half of them for keys to the
right, of each half one for each short distance and the others ever wider, up to `max_distance`. The biases are the same
in all layers.
"""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.kernels import Bias, Needs
from bert_jax.modeling.layers import truncated_normal
from bert_jax.modeling.positions import Form, Positions, absolute
from configuration.variants import ConfigError


def build(model: Model, *, buckets: int = 32, max_distance: int = 128) -> Positions:
    """The scheme.

    Args:
      buckets: of distances, to both sides together.
      max_distance: in tokens, from which on all distances share a bucket.
    """
    if buckets < 4 or buckets % 4:
        raise ConfigError(f"config.model.positions.buckets is {buckets}; it must be a multiple of 4")
    if max_distance <= buckets // 4:
        raise ConfigError(
            f"config.model.positions.max_distance is {max_distance}; it must be above a fourth of buckets={buckets}"
        )
    return Bucketed(model, buckets, max_distance)


class Tables(absolute.Table):
    """One learned vector for each position, and one number for each bucket and head."""

    def __init__(self, model: Model, rngs: nnx.Rngs, buckets: int):
        super().__init__(model, rngs)
        shape = (buckets, model.heads)
        self.buckets = nnx.Param(truncated_normal(rngs.params(), shape, model.init_std), axes=(None, "heads"))


@dataclasses.dataclass(frozen=True)
class Biased(Form):
    """A bias by distance."""

    buckets: int
    max_distance: int
    needs: Needs = "bias"

    def tables(self, positions: jax.Array, shared: Tables) -> jax.Array:
        distances = np.arange(-self.max_distance, self.max_distance + 1)
        return shared.buckets[...][bucket_of(distances, self.buckets, self.max_distance)].T

    def addition(self, tables: jax.Array, own: Any) -> Bias:
        return Bias(tables)


@dataclasses.dataclass(frozen=True)
class Bucketed(absolute.Absolute):
    """The vectors are added to the words', the biases to the scores."""

    buckets: int
    max_distance: int

    def shared(self, rngs: nnx.Rngs) -> Tables:
        return Tables(self.model, rngs, self.buckets)

    def forms(self, length: int, local: bool = False) -> tuple[Form, ...]:
        return (Biased(self.buckets, self.max_distance),)


def bucket_of(distances: np.ndarray, buckets: int, max_distance: int) -> np.ndarray:
    """int of any shape, key − query → the number of its bucket."""
    half, apart = buckets // 2, np.abs(distances)
    exact = half // 2  # in float32, as released checkpoints were trained
    steps = np.log(np.maximum(apart, exact).astype(np.float32) / np.float32(exact)) / np.float32(
        math.log(max_distance / exact)
    )
    wide = np.minimum(exact + (steps * np.float32(half - exact)).astype(int), half - 1)
    return half * (distances > 0) + np.where(apart < exact, apart, wide)
