"""Warm-up, then half a cosine (Loshchilov and Hutter 2016, arXiv 1608.03983, equation 5, without restarts)."""

import jax
import jax.numpy as jnp
import optax

from bert_jax.training.schedules import length_of, require, warmed_up


def build(steps: int, peak: float, *, warmup: float = 0.1, end: float = 0.0) -> optax.Schedule:
    """peak (e + (1 - e) (1 + cos(pi (t - w) / (T - w))) / 2) after the warm-up w of the T steps.

    Args:
      steps: updates of the phase.
      peak: the highest learning rate.
      warmup: share of the steps (below 1) or number of steps.
      end: the rate after the last step, as a share of the peak.

    Raises:
      ConfigError: an option is out of range.
    """
    ramp = length_of("warmup", warmup, steps)
    require(0 <= end <= 1, "end", end, "a share of the peak, 0 to 1")

    def decay(at: jax.Array) -> jax.Array:
        done = jnp.clip((at - ramp) / max(steps - ramp, 1e-9), 0.0, 1.0)
        return peak * (end + (1 - end) * 0.5 * (1 + jnp.cos(jnp.pi * done)))

    return warmed_up(ramp, peak, decay)
