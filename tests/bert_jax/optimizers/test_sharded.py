"""Every optimizer, its parameters and moments split over fsdp and tensor, against one device.

The devices are four CPU devices of a process of their own: this file, run as a script.
"""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from configuration.variants import Variant, load, names

PACKAGE = "bert_jax.training.optimizers"
CASES = [Variant(name) for name in names(PACKAGE)]
CASES += [Variant("lamb", {"variant": "nezha"})]


def test_sharded_equals_one_device():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == [variant.name for variant in CASES]


def even(tree):
    """Every axis but the layers' made even, so that it can be split in two."""

    def pad(path, x):
        whole = 1 if path[0].key == "layers" else 0
        return np.pad(x, [(0, 0)] * whole + [(0, n % 2) for n in x.shape[whole:]], "edge")

    return jax.tree_util.tree_map_with_path(pad, tree)


def placement(mesh: Mesh, params):
    """The first axis after the layers over fsdp, the last over tensor."""

    def place(path, p):
        axes = ["layers"] if path[0].key == "layers" else []
        axes += ["fsdp"] + [None] * (p.ndim - len(axes) - 2) + ["tensor"] * (p.ndim > len(axes) + 1)
        return NamedSharding(mesh, PartitionSpec(*(None if axis == "layers" else axis for axis in axes)))

    return jax.tree_util.tree_map_with_path(place, params)


def layout(optimizer, params, places, everywhere):
    """Shardings of the optimizer's state: moments as their parameters, the rest everywhere."""
    return optax.tree_map_params(
        optimizer,
        lambda leaf, place: leaf if isinstance(leaf, optax.MaskedNode) else place,
        jax.eval_shape(optimizer.init, params),
        places,
        transform_non_params=lambda _: everywhere,
        is_leaf=lambda leaf: isinstance(leaf, optax.MaskedNode),
    )


def check(variant: Variant, trees) -> None:
    optimizer = load(PACKAGE, variant)(lambda step: jnp.asarray(0.01, jnp.float32))
    params, gradients = even(trees.normal(0)), [even(trees.normal(t)) for t in range(1, 4)]
    mesh = jax.make_mesh((2, 2), ("fsdp", "tensor"), axis_types=(AxisType.Auto,) * 2)
    places = placement(mesh, params)
    state_places = layout(optimizer, params, places, NamedSharding(mesh, PartitionSpec()))
    alone, split = params, jax.device_put(params, places)
    alone_state = jax.jit(optimizer.init)(alone)
    split_state = jax.jit(optimizer.init, out_shardings=state_places)(split)
    moments = [leaf for leaf in jax.tree.leaves(split_state) if leaf.ndim > 1]
    assert moments
    assert all("fsdp" in leaf.sharding.spec for leaf in moments)
    update = jax.jit(optimizer.update)
    split_update = jax.jit(optimizer.update, out_shardings=(places, state_places))
    for grads in gradients:
        updates, alone_state = update(grads, alone_state, alone)
        alone = jax.block_until_ready(optax.apply_updates(alone, updates))
        updates, split_state = split_update(jax.device_put(grads, places), split_state, split)
        jax.block_until_ready(updates)  # queued steps of several CPU devices can wait for each other for ever
        split = jax.block_until_ready(optax.apply_updates(split, updates))
    for x, y in zip(jax.tree.leaves(split), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-6, atol=2e-6 * np.abs(y).max())


if __name__ == "__main__":
    from conftest import Trees  # beside this file

    for case in CASES:
        check(case, Trees)
        print(case.name)
