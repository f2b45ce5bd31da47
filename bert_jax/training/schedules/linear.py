"""Warm-up, then linear decay: polynomial.py with power 1; it lists which reference does which."""

import optax

from bert_jax.training.schedules import polynomial


def build(steps: int, peak: float, *, warmup: float = 0.1, end: float = 0.0, jump: bool = False) -> optax.Schedule:
    """Linear decay from the peak to `end`, a share of it.

    Args:
      steps: updates of the phase.
      peak: the highest learning rate.
      warmup: share of the steps (below 1) or number of steps.
      end: the rate after the last step, as a share of the peak.
      jump: Google's BERT: the line starts at the peak at step 0, so that the rate falls when the warm-up ends.

    Raises:
      ConfigError: an option is out of range.
    """
    return polynomial.build(steps, peak, warmup=warmup, end=end, jump=jump)
