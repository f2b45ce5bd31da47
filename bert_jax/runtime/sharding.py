"""The mesh, and the one table from logical axes to mesh axes.

`replica`, `data` and `fsdp` split the batch; `fsdp` splits parameters and moments; `tensor` splits heads, feed-forward
and vocabulary. `replica` goes over the slices of a multi-slice machine, whose network is the slowest: of all that
chips exchange, only the sum of the gradients crosses it. XLA places the collectives from these (`pjit` is today's
`jax.jit` with shardings).
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bert_jax import config as configs
from configuration.variants import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

RULES: Mapping[str | None, str | None] = {
    "vocab": "tensor",
    "heads": "tensor",
    "mlp": "tensor",
    "embed": "fsdp",
    "layers": None,
    None: None,
}
AXES = ("replica", "data", "fsdp", "tensor")
COPIES = ("replica", "data")  # axes with a copy of the model at each index
BATCH = PartitionSpec((*COPIES, "fsdp"))


def make_mesh(mesh: configs.Mesh, devices: Iterable[Any] | None = None) -> jax.sharding.Mesh:
    """A mesh of all devices with axes replica, data, fsdp and tensor.

    Raises:
      ConfigError: the sizes do not multiply to the number of devices, or replica does not go over their slices.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = {axis: getattr(mesh, axis) for axis in AXES}
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if -1 in sizes.values() and len(devices) % fixed == 0:
        sizes = {name: len(devices) // fixed if size == -1 else size for name, size in sizes.items()}
    if math.prod(sizes.values()) != len(devices):
        raise ConfigError(
            f"config.mesh is {sizes}, {fixed} devices, but there are {len(devices)}: "
            "the sizes must multiply to that number (-1 takes the rest)"
        )
    shape, types = tuple(sizes.values()), (AxisType.Auto,) * len(AXES)
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices == 1:
        return jax.make_mesh(shape, AXES, axis_types=types, devices=devices)
    if sizes["replica"] != slices:
        raise ConfigError(
            f"config.mesh.replica is {sizes['replica']}, but the devices are in {slices} slices: set it so"
        )
    inside, between = (1, *shape[1:]), (slices, 1, 1, 1)
    return jax.sharding.Mesh(mesh_utils.create_hybrid_device_mesh(inside, between, devices), AXES, axis_types=types)


def batch_shards(mesh: Any) -> int:
    """Number of batch shards, excluding manual axes."""
    return math.prod(mesh.shape.get(axis, 1) for axis in BATCH[0] if axis not in mesh.manual_axes)


def rows() -> PartitionSpec:
    """Sharding of rows over the mesh in use: that of batches, without the axes that `per_replica` has split."""
    split = jax.sharding.get_abstract_mesh().manual_axes
    return PartitionSpec(tuple(axis for axis in BATCH[0] if axis not in split))


def first_row(number: int) -> jax.Array | int:
    """Index in the global batch of the first of these rows: 0 except within `per_replica`."""
    split = jax.sharding.get_abstract_mesh().manual_axes
    axes = tuple(axis for axis in BATCH[0] if axis in split)
    return jax.lax.axis_index(axes) * number if axes else 0


def per_replica(function: F) -> F:
    """`function(params, constants, batch, key)`, a tree of sums over rows, summed over model copies once, at its end.

    XLA alone would all-reduce at each iteration of a loop in the function. Parameters that fsdp splits are still
    gathered, and their gradients reduced, wherever the function needs them.
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = tuple(axis for axis in COPIES if mesh.shape.get(axis, 1) > 1)
    if not axes:
        return function

    def own(params: Any, constants: Any, batch: Any, key: jax.Array) -> Any:
        return jax.lax.psum(function(params, constants, batch, key), axes)

    everywhere, specs = PartitionSpec(), PartitionSpec(axes)
    # JAX's check would refuse gradients that are not yet reduced.
    return jax.shard_map(  # type: ignore[return-value]
        own,
        in_specs=(everywhere, everywhere, specs, everywhere),
        out_specs=everywhere,
        axis_names=set(axes),
        check_vma=False,
    )


def everywhere(mesh: jax.sharding.Mesh) -> NamedSharding:
    """A whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: jax.sharding.Mesh) -> NamedSharding:
    """Rows split over replica, data and fsdp."""
    return NamedSharding(mesh, BATCH)


def on_mesh(mesh: jax.sharding.Mesh, function: F) -> F:
    """`function`, traced with this mesh in use: kernels ask it for the platform and split their work by it."""

    @functools.wraps(function)
    def traced(*arguments: Any) -> Any:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*arguments)

    return traced  # type: ignore[return-value]


def put_batch(batch: Mapping[str, np.ndarray], mesh: jax.sharding.Mesh) -> dict[str, jax.Array]:
    """This process's rows → global arrays on the mesh."""
    sharding = batch_sharding(mesh)
    return {name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()}


def word_embeddings_per_shard(params: Any) -> Any:
    """The parameters with the word embeddings [V, D] as one copy per batch shard, [n, V, D].

    The lookup and the head both read them, and XLA would all-reduce the gradient of each separately. The gradients of
    a copy are added on its device, and one all-reduce is left. Without a mesh in use (`jax.set_mesh`) that splits
    batches, the parameters unchanged.
    """
    parts = batch_shards(jax.sharding.get_abstract_mesh())
    if parts == 1:
        return params
    words = params["embeddings"]["word"]["embedding"]
    copied = jnp.broadcast_to(words, (parts, *words.shape))
    copied = jax.lax.with_sharding_constraint(copied, PartitionSpec(*rows(), RULES["vocab"], None))
    return params | {"embeddings": params["embeddings"] | {"word": {"embedding": copied}}}
