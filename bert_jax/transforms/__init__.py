"""Transforms of the weights, one a file: what training keeps beside the weights, and what is evaluated and exported.

`build(steps, *, options) -> Transform`, for a run of `steps` updates. `config.transforms` lists them in the order in
which they are applied: prune after average gives an average with exact zeros.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.config import Config
from configuration.variants import ConfigError, load

Params = Any
States = dict[str, Any]  # of each transform by its name


class Transform(NamedTuple):
    """The functions of a transform; they run on the device inside the train step.

    `apply(params, state) -> params` gives the weights to evaluate and export, and with `in_step` those that the loss
    sees in training; the optimizer updates the weights below, by the gradient through `apply`.
    `init(params) -> state` and `update(state, params) -> state` keep what it remembers, from the weights after each
    update that is made. Trees like the parameters are laid out over the mesh as they are, everything else on every
    device, so `init` must make such trees by `jax.tree.map` or `jax.tree_util.tree_map_with_path`; where it keeps
    nothing of a parameter, it puts `optax.MaskedNode()`.
    """

    apply: Callable[[Params, Any], Params]
    init: Callable[[Params], Any] = lambda params: {}
    update: Callable[[Any, Params], Any] = lambda state, params: state
    in_step: bool = False


def transforms_of(config: Config) -> dict[str, Transform]:
    """The transforms that the configuration lists, in order, by name.

    Raises:
      ConfigError: there is no such file, an option is wrong, or two have the same name.
    """
    found: dict[str, Transform] = {}
    for variant in config.transforms:
        name = variant.name.rpartition(".")[2]
        if name in found:
            raise ConfigError(f"config.transforms lists {name} twice; list each transform once")
        found[name] = load("bert_jax.transforms", variant)(config.steps)
    return found


def init(transforms: Mapping[str, Transform], params: Params) -> States:
    """The states before the first update."""
    return {name: transform.init(params) for name, transform in transforms.items()}


def update(transforms: Mapping[str, Transform], states: States, params: Params, made: jax.Array | bool) -> States:
    """The states after an update that gave `params`; as they were if it was not `made`."""
    new = {name: transform.update(states[name], params) for name, transform in transforms.items()}
    if made is True:
        return new
    return jax.tree.map(lambda new, old: jnp.where(made, new, old), new, states)


def apply(transforms: Mapping[str, Transform], params: Params, states: States, *, in_step: bool = False) -> Params:
    """The weights to evaluate and export; `in_step`: those that the loss sees in training."""
    for name, transform in transforms.items():
        if transform.in_step or not in_step:
            params = transform.apply(params, states[name])
    return params
