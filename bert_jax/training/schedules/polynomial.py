"""Warm-up, then a power of the share of steps that is left.

With T steps, warm-up w, step t and end e (a share of the peak), after the warm-up
    continuous (jump=False):  peak (e + (1 - e) ((T - t) / (T - w))^power), which starts at the peak
    jump=True:                peak (e + (1 - e) ((T - t) / T)^power), which is below the peak already at t = w

jump=True is Google's BERT and ALBERT (power 1) and NVIDIA's BERT (power 0.5, first=1); RoBERTa, Hugging Face
and NEZHA (power 1) are continuous, NEZHA by raising the peak from which its decay counts.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import optax

from bert_jax.training.schedules import length_of, require, warmed_up


def build(
    steps: int,
    peak: float,
    *,
    warmup: float = 0.1,
    power: float = 1.0,
    end: float = 0.0,
    jump: bool = False,
    first: Literal[0, 1] = 0,
) -> optax.Schedule:
    """Polynomial decay.

    Args:
      steps: updates of the phase.
      peak: the highest learning rate.
      warmup: share of the steps (below 1) or number of steps.
      power: of the decay; 1 is linear, 0.5 the square root.
      end: the rate after the last step, as a share of the peak.
      jump: decay counts from step 0, not from the end of the warm-up: the rate falls at once when that ends.
      first: number of the first update; 1 as NVIDIA counts: no update at rate 0, but a last one at the end value.

    Raises:
      ConfigError: an option is out of range.
    """
    ramp = length_of("warmup", warmup, steps)
    require(power > 0, "power", power, "above 0")
    require(0 <= end <= 1, "end", end, "a share of the peak, 0 to 1")
    span = steps if jump else max(steps - ramp, 1e-9)

    def decay(at: jax.Array) -> jax.Array:
        left = jnp.clip((steps - at) / span, 0.0, 1.0)
        return peak * (end + (1 - end) * left**power)

    schedule = warmed_up(ramp, peak, decay)
    return lambda step: schedule(step + first)
