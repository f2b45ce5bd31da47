"""Warm-up, stable, decay: a trapezoid whose last side is 1 - sqrt (Hägele et al. 2024, arXiv 2405.18392, 3.2).

ModernBERT's schedule (Warner et al. 2024, arXiv 2412.13663). A run can be extended from any point of the stable part.
"""

import jax
import jax.numpy as jnp
import optax

from bert_jax.training.schedules import length_of, require, warmed_up


def build(steps: int, peak: float, *, warmup: float = 0.1, decay: float = 0.1, end: float = 0.0) -> optax.Schedule:
    """peak until the last `decay` steps d, then peak (e + (1 - e) (1 - sqrt((t - (T - d)) / d))).

    Args:
      steps: updates of the phase, T.
      peak: the highest learning rate.
      warmup: share of the steps (below 1) or number of steps.
      decay: likewise; 0 stays at the peak.
      end: the rate after the last step, as a share of the peak.

    Raises:
      ConfigError: an option is out of range.
    """
    ramp, fall = length_of("warmup", warmup, steps), length_of("decay", decay, steps)
    require(ramp + fall <= steps, "decay", decay, f"with warmup={warmup!r} at most the phase's steps={steps}")
    require(0 <= end <= 1, "end", end, "a share of the peak, 0 to 1")

    def after(at: jax.Array) -> jax.Array:
        done = jnp.clip((at - (steps - fall)) / fall, 0.0, 1.0) if fall else jnp.zeros_like(at)
        return peak * (end + (1 - end) * (1 - jnp.sqrt(done)))

    return warmed_up(ramp, peak, after)
