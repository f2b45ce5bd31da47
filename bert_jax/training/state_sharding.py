"""Shardings of the train state on the mesh, from its parameters' logical axes."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import optax
from jax.sharding import NamedSharding, PartitionSpec

from bert_jax import config as configs
from bert_jax.runtime.sharding import RULES, batch_shards, everywhere
from bert_jax.transforms import Transform
from configuration.variants import ConfigError


def check(config: configs.Config, mesh: jax.sharding.Mesh) -> None:
    """Raises ConfigError if the model or the batch cannot be split over the mesh."""
    parts, tensor = batch_shards(mesh), mesh.shape["tensor"]
    for i, phase in enumerate(config.phases):
        for name, rows in (
            ("batch_size / microbatches", phase.batch_size // phase.microbatches),
            ("batch_warmup.first", phase.batch_warmup.first),
            ("batch_warmup.increment", phase.batch_warmup.increment),
        ):
            if rows % parts:
                raise ConfigError(
                    f"config.phases.{i}.{name} is {rows} rows, which replica × data × fsdp = {parts} devices "
                    f"do not divide; the nearest that they do is {max(1, round(rows / parts)) * parts}"
                )
    for name, size, axis in (
        ("heads", config.model.heads, tensor),
        ("mlp_width", config.model.mlp_width, tensor),
        ("padded_vocab_size", config.model.padded_vocab_size, tensor),
        ("width", config.model.width, mesh.shape["fsdp"]),
        ("embedding_width", config.model.embedding_width, mesh.shape["fsdp"]),
    ):
        if size % axis:
            which = "fsdp" if name in ("width", "embedding_width") else "tensor"
            raise ConfigError(f"config.mesh.{which} is {axis}, which does not divide model.{name}={size}")


def parameter_shardings(axes: Any, params: Any, mesh: jax.sharding.Mesh) -> dict:
    """A NamedSharding for each parameter, by its logical `axes`; `params` may be abstract.

    Where nothing goes over fsdp by the table, as in the biases of heads, feed-forward and vocabulary, the last axis
    that both together divide goes over tensor and fsdp.

    Raises:
      ConfigError: an axis of a parameter, such as an objective's own, cannot be split.
    """
    fsdp = RULES["embed"]

    def place(path: Any, axes: tuple[str | None, ...], x: Any) -> NamedSharding:
        names: list[Any] = [RULES[axis] for axis in axes]
        if fsdp not in names:
            both = {i: (name, fsdp) for i, name in enumerate(names) if name is not None}
            fits = [i for i, pair in both.items() if x.shape[i] % math.prod(mesh.shape[axis] for axis in pair) == 0]
            names = [both[i] if i in fits[-1:] else name for i, name in enumerate(names)]
        for name, size in zip(names, x.shape, strict=True):
            if isinstance(name, str) and size % mesh.shape[name]:
                which = "/".join(str(key.key) for key in path)
                raise ConfigError(
                    f"config.mesh.{name} is {mesh.shape[name]}, which does not divide {size}, an axis of {which}"
                )
        return NamedSharding(mesh, PartitionSpec(*names))

    return jax.tree_util.tree_map_with_path(place, axes, params)


def state_shardings(
    axes: Any, optimizer: optax.GradientTransformation, transforms: Mapping[str, Transform], params: Any, mesh: Any
) -> dict:
    """Shardings of the train state: moments and averages as their parameters, everything else on every device.

    `params` are abstract. (Compiling `optimizer.init` alone would replicate the moments.)
    """
    shardings = parameter_shardings(axes, params, mesh)

    def like_parameters(keeper: Any) -> Any:
        return optax.tree_utils.tree_map_params(
            keeper,
            lambda leaf, sharding: leaf if _masked(leaf) else sharding,
            jax.eval_shape(keeper.init, params),
            shardings,
            transform_non_params=lambda _: everywhere(mesh),
            is_leaf=_masked,
        )

    kept = {name: like_parameters(transform) for name, transform in transforms.items()}
    fixed = {"step": everywhere(mesh), "params": shardings, "opt_state": like_parameters(optimizer)}
    return fixed | ({"transforms": kept} if kept else {})


def _masked(leaf: Any) -> bool:
    """Whether nothing is kept for this parameter, as in a composed optimizer whose other part has its moments."""
    return isinstance(leaf, optax.MaskedNode)
