"""Runs a kernel that XLA cannot split on each device's own rows and heads."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec

from bert_jax.runtime.sharding import RULES, rows

Attend = Callable[..., jax.Array]


def over_mesh(attend: Attend) -> Attend:
    """`attend(q, k, v, of_rows, of_heads)` over the mesh in use (`jax.set_mesh`), or as it is without one.

    Rows are split as batches are, heads as `sharding.RULES` says; no device needs another's. `of_rows` is a tree of
    arrays [B, ...] such as a visibility, `of_heads` one of arrays [N, ...]; without any it may be left out. Compiling
    a Pallas kernel for several devices outside `jax.set_mesh` is an error of JAX's.
    """
    if jax.sharding.get_abstract_mesh().size <= 1:
        return attend
    own, heads = rows(), RULES["heads"]
    vectors = PartitionSpec(*own, None, heads, None)
    of_rows_and_heads = (own, PartitionSpec(heads))

    def run(q: jax.Array, k: jax.Array, v: jax.Array, *others: Any) -> jax.Array:
        specs = (vectors, vectors, vectors, *of_rows_and_heads[: len(others)])
        # Pallas calls do not say over which axes their results vary, so that JAX cannot check it.
        return jax.shard_map(attend, in_specs=specs, out_specs=vectors, check_vma=False)(q, k, v, *others)

    return run
