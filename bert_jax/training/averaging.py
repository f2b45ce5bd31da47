"""An exponential moving average of the weights (Polyak and Juditsky 1992; Izmailov et al. 2018, arXiv 1803.05407).

`wrap` puts the average into the optimizer's state, so that it is sharded, saved and restored with the moments;
`average` takes it out. Evaluating with it often equals some learning-rate decay.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from configuration.variants import ConfigError


class AveragedState(NamedTuple):
    """The wrapped optimizer's state and the average, a tree like the parameters in float32."""

    inner: optax.OptState
    average: Any
    averaged: jax.Array  # int32 []: parameters in the average


def wrap(optimizer: optax.GradientTransformation, decay: float) -> optax.GradientTransformationExtraArgs:
    """`optimizer`, its updates unchanged, which also averages the parameters after each of them.

    After t updates the average is sum_i decay^(t-i) p_i / sum_i decay^(t-i) over i = 1 … t: the moving average
    without its bias towards the start. Before the first update it is the parameters themselves.

    Args:
      optimizer: any; further arguments of its `update` are handed on.
      decay: weight of the past; 1 / (1 - decay) updates is about the average's reach.

    Raises:
      ConfigError: decay is not between 0 and 1.
    """
    if not 0 < decay < 1:
        raise ConfigError(f"config.average_decay is {decay!r}; it must be between 0 and 1, such as 0.999")
    inner = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> AveragedState:
        average = jax.tree.map(lambda p: jnp.array(p, jnp.float32, copy=True), params)
        return AveragedState(inner.init(params), average, jnp.zeros([], jnp.int32))

    def update(grads: Any, state: AveragedState, params: Any = None, **extra: Any) -> tuple[Any, AveragedState]:
        updates, inner_state = inner.update(grads, state.inner, params, **extra)
        averaged = state.averaged + 1
        # The newest weights' share, (1 - d) / (1 - d^t): 1 at first, 1 - d in the end.
        share = (1 - decay) / -jnp.expm1(averaged.astype(jnp.float32) * math.log(decay))
        new = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, p: a + share * (p - a), state.average, new)
        return updates, AveragedState(inner_state, average, averaged)

    return optax.GradientTransformationExtraArgs(init, update)


def average(opt_state: optax.OptState) -> Any:
    """The averaged parameters in an optimizer's state, however deep; None if nothing averages there."""
    return optax.tree_utils.tree_get(opt_state, "average")
