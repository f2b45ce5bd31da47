"""Position schemes, one a file: `build(model) -> Positions`.

A scheme may have parameters, once for the encoder or in each layer, and may add to the embeddings. It enters
attention through a form, which overrides what it needs of the base class. Most schemes have one form; one with several,
such as wider heads and vectors by distance, offers them in order of preference, and a kernel takes the first that it
supports.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.kernels import Addition, Needs

Triple = tuple[jax.Array, jax.Array, jax.Array]
Projection = Callable[[jax.Array], jax.Array]  # [..., D] → [..., N, H]


class Form:
    """How a scheme enters a kernel. The base changes nothing."""

    needs: Needs = "nothing"  # what the kernel must be able to add
    widening: int = 1  # by which the head size grows in the kernel's input

    def tables(self, positions: jax.Array, shared: Any) -> Any:
        """What the other functions need, computed once for all layers.

        Args:
          positions: int [B, L], counted from the start of the row or of each document.
          shared: the scheme's module of the whole encoder, or None.
        """
        del positions, shared
        return None

    def select_queries(self, tables: Any, places: jax.Array) -> Any:
        """The tables for queries at positions [B, P] and keys everywhere."""
        del places
        return tables

    def of_layer(self, tables: Any, query: Projection, key: Projection) -> Any:
        """The tables as the functions below take them, given the layer's projections of queries and of keys."""
        del query, key
        return tables

    def transform_qkv(self, q: jax.Array, k: jax.Array, v: jax.Array, tables: Any, own: Any) -> Triple:
        """q, k, v [B, L, N, H] → the same for the kernel; `own` is the scheme's module of this layer, or None."""
        del tables, own
        return q, k, v

    def addition(self, tables: Any, own: Any) -> Addition:
        """What the kernel adds; of the kind that the form `needs`."""
        del tables, own
        return None

    def transform_output(self, out: jax.Array, tables: Any) -> jax.Array:
        """The kernel's output → [B, L, N, H]."""
        del tables
        return out


@dataclasses.dataclass(frozen=True)
class Positions:
    """The base of every scheme: no parameters, nothing added, one form that changes nothing."""

    model: Model

    @property
    def longest(self) -> int | None:
        """Longest row in tokens that it supports; None for any."""
        return None

    def shared(self, rngs: nnx.Rngs) -> nnx.Module | None:
        """The parameters that the encoder has once, at embeddings/position."""
        del rngs
        return None

    def own(self, rngs: nnx.Rngs) -> nnx.Module | None:
        """The parameters that each layer has, at layers/attention/position."""
        del rngs
        return None

    def embed(self, positions: jax.Array, shared: Any) -> jax.Array | None:
        """positions int [B, L] → what is added to the embeddings, [B, L, E], or None."""
        del positions, shared
        return None

    def forms(self, length: int, local: bool = False) -> tuple[Form, ...]:
        """The forms for rows of `length` tokens, the preferred ones first.

        Args:
          local: for the layers that attend within `model.window`, or else for the global ones.
        """
        del length, local
        return (Form(),)
