"""Position schemes, one a file: `build(model) -> class of Positions`.

A scheme may add to the embeddings, change queries, keys and values before attention and the output
after it, or hand the kernel a table of relative vectors. What it leaves alone stays as in the base class.
"""

from typing import Any

import jax
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.kernels import Relative


class Positions(nnx.Module):
    """The base of every scheme: adds nothing, changes nothing."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        del model, rngs

    def embed(self, positions: jax.Array) -> jax.Array | None:
        """positions int [B, L] → what is added to the embeddings, [B, L, E], or None."""
        del positions
        return None

    def tables(self, positions: jax.Array) -> Any:
        """What `before` and `after` need of positions int [B, L], computed once for all layers."""
        del positions
        return None

    def unclipped(self, length: int) -> Any:
        """In place of `tables` for kernels that take relative sinusoids of any reach, or None where there are none."""
        del length
        return None

    def select_queries(self, tables: Any, places: jax.Array) -> Any:
        """The tables for queries at places [B, P] of their rows and keys everywhere."""
        del places
        return tables

    def transform_qkv(
        self, q: jax.Array, k: jax.Array, v: jax.Array, tables: Any
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """q, k, v [B, L, N, H] → the same for the kernel; the head size may grow."""
        del tables
        return q, k, v

    def relative(self, tables: Any) -> Relative | None:
        """Vectors for the kernel to add to keys and values by distance, or None."""
        del tables
        return None

    def transform_output(self, out: jax.Array, tables: Any) -> jax.Array:
        """The kernel's output → [B, L, N, H]."""
        del tables
        return out
