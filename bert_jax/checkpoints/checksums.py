"""Checksums of arrays, computed on their devices, to compare a checkpoint with what was saved.

Nothing else detects a flipped bit in the file of a weight: it reads as another weight.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from bert_jax.runtime.trees import flatten


def checksums(tree: Any) -> dict[str, int]:
    """Each array's checksum by its dotted name; the same however the arrays are split over a mesh."""
    leaves = {name: jnp.asarray(x) for name, x in flatten(tree).items()}
    sharding = next(iter(leaves.values())).sharding
    # Every process reads the sums, so they are laid out on all devices.
    everywhere = NamedSharding(sharding.mesh, PartitionSpec()) if isinstance(sharding, NamedSharding) else sharding
    return {name: int(value) for name, value in jax.device_get(compiled(everywhere)(leaves)).items()}


@functools.cache
def compiled(sharding: jax.sharding.Sharding) -> Any:
    """The checksums of a flat dict of arrays, laid out so: one function, so that a run compiles it once."""
    return jax.jit(lambda leaves: jax.tree.map(checksum, leaves), out_shardings=sharding)


def checksum(x: jax.Array) -> jax.Array:
    """Σ (2i + 1) · bits of xᵢ, modulo 2³²: uint32 []. A single flipped bit always changes it."""
    if x.dtype == jnp.bool_:
        x = x.astype(jnp.uint8)
    bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{8 * x.dtype.itemsize}")).astype(jnp.uint32)
    index = jnp.zeros(x.shape, jnp.uint32)
    for axis, size in enumerate(x.shape):
        index = index * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
    return jnp.sum(bits * (2 * index + 1), dtype=jnp.uint32)
