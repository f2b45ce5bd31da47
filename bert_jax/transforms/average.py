"""An exponential moving average of the weights (Polyak and Juditsky 1992; Izmailov et al. 2018, arXiv 1803.05407).

Evaluating with it often equals some learning-rate decay.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.transforms import Transform
from configuration.variants import ConfigError


def build(steps: int, *, decay: float = 0.999) -> Transform:
    """After t updates the average is sum_i decay^(t-i) p_i / sum_i decay^(t-i) over i = 1 … t.

    That is the moving average without its bias towards the start. Before the first update it is the parameters.

    Args:
      decay: weight of the past; 1 / (1 - decay) updates is about the average's reach.

    Raises:
      ConfigError: decay is not between 0 and 1.
    """
    del steps
    if not 0 < decay < 1:
        raise ConfigError(f"config.transforms: average.decay is {decay!r}; it must be between 0 and 1, such as 0.999")

    def init(params: Any) -> dict[str, Any]:
        average = jax.tree.map(lambda p: jnp.array(p, jnp.float32, copy=True), params)
        return {"average": average, "averaged": jnp.zeros([], jnp.int32)}  # averaged: parameters in the average

    def update(state: dict[str, Any], params: Any) -> dict[str, Any]:
        averaged = state["averaged"] + 1
        # The newest weights' share, (1 - d) / (1 - d^t): 1 at first, 1 - d in the end.
        share = (1 - decay) / -jnp.expm1(averaged.astype(jnp.float32) * math.log(decay))
        average = jax.tree.map(lambda a, p: a + share * (p - a), state["average"], params)
        return {"average": average, "averaged": averaged}

    return Transform(apply=lambda params, state: state["average"], init=init, update=update)
