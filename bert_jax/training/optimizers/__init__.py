"""Optimizers, one a file: `build(learning_rate, *, options) -> optax.GradientTransformation`.

`learning_rate` is a function: the optimizer's own count of updates -> rate. It is called once an update with the count
before it; where updates were skipped, the function adds them, so that the rate follows the run's steps.

Gradients may come in any float type; moments and updates are float32 and shaped as the parameters, so that they take
their sharding. The global gradient norm is clipped before an optimizer sees the gradients (config.clip_norm).

Leaves under "layers", wherever that stands in the tree, hold every layer, stacked on axis 0: what an optimizer does to
a whole matrix it does to each layer of such a leaf. This file has the helpers that all of them share.

A tensor of one layer whose gradients have all been zero, since no loss reads it, is left unchanged: it does not decay,
and there is no step for a trust ratio to scale. Within a tensor that has had a gradient every number decays, as in the
papers: also the word embeddings of tokens that no batch has.
"""

from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.modeling.parts import STACKED
from configuration.variants import ConfigError

Path = tuple[Any, ...]  # keys of the parameter tree, outermost first
Tree = Any  # the parameters' nested dict, or a tree of its structure

EXCLUDED = ("bias", "scale")  # biases and LayerNorm's scales: neither decay nor, in some variants, a trust ratio


def names_of(path: Path) -> tuple[str, ...]:
    """The keys of a leaf as strings: ("layers", "mlp", "up", "kernel")."""
    return tuple(str(getattr(key, "key", key)) for key in path)


def is_stacked(path: Path) -> bool:
    """Whether axis 0 of the leaf counts layers."""
    return STACKED in names_of(path)


def is_excluded(path: Path, exclude: tuple[str, ...]) -> bool:
    """Whether a key of the leaf's path is in `exclude`. By name: a stacked bias has the rank of a matrix."""
    return not set(exclude).isdisjoint(names_of(path))


def layer_norm(path: Path, x: jax.Array) -> jax.Array:
    """The float32 Euclidean norm of a leaf, one for each layer: x [n, ...] -> [n, 1, ...]; else x [...] -> [1, ...]."""
    axes = tuple(range(1 if is_stacked(path) else 0, x.ndim))
    return jnp.sqrt(jnp.sum(jnp.square(x.astype(jnp.float32)), axes, keepdims=True))


def has_gradient(path: Path, moment: jax.Array) -> jax.Array:
    """Whether a gradient of the leaf was ever not zero, one for each layer; shaped as `layer_norm`, bool.

    Args:
      moment: one that is zero as long as all gradients are. Its absolute values are added, not their squares, which
        are 0 in float32 for a second moment below 1e-23; a sum, as LAMB's norms are, shares their all-reduce.
    """
    axes = tuple(range(1 if is_stacked(path) else 0, moment.ndim))
    return jnp.sum(jnp.abs(moment), axes, keepdims=True) != 0


def require(holds: bool, option: str, value: object, wanted: str) -> None:
    """Raises ConfigError, naming the optimizer's option, its value and what it must be, unless `holds`."""
    if not holds:
        raise ConfigError(f"config.optimizer: {option}={value!r}; it must be {wanted}")
