"""Runs a kernel that XLA cannot split on each device's own rows and heads."""

from collections.abc import Callable

import jax
from jax.sharding import PartitionSpec

from bert_jax.runtime.sharding import RULES, rows

Attend = Callable[..., jax.Array]


def over_mesh(attend: Attend) -> Attend:
    """`attend(q, k, v, visibility)` over the mesh in use (`jax.set_mesh`), or as it is without one.

    Rows are split as batches are, heads as `sharding.RULES` says; no device needs another's. Compiling a Pallas
    kernel for several devices outside `jax.set_mesh` is an error of JAX's.
    """
    if jax.sharding.get_abstract_mesh().size <= 1:
        return attend
    own = rows()
    heads = PartitionSpec(*own, None, RULES["heads"], None)
    # Pallas calls do not say over which axes their results vary, so that JAX cannot check it.
    return jax.shard_map(attend, in_specs=(heads, heads, heads, own), out_specs=heads, check_vma=False)
