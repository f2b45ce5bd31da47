"""Learning-rate schedules, one a file: `build(steps, peak, *, warmup=0.1, ...) -> optax.Schedule`.

A schedule is a function: steps already done -> learning rate of the next (float32). It spans the `steps`
of one phase and stays at its end value after them. Steps whose update the guard has skipped count.
Warm-up goes linearly from 0 to `peak`; `warmup` is a share of the steps below 1 and a number of steps from 1 on.
The first update of a warm-up has rate 0, as in Google's BERT and in Hugging Face's schedules.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from configuration.variants import ConfigError


def length_of(option: str, value: float, steps: int) -> float:
    """Steps that an option names, as a share of `steps` (below 1, not rounded) or as their number.

    Raises:
      ConfigError: below 0 or above `steps`.
    """
    require(value >= 0, option, value, "at least 0: a share of the steps below 1, a number of steps from 1 on")
    require(value <= steps, option, value, f"at most the phase's steps={steps}; as a share it is below 1")
    return value * steps if value < 1 else float(value)


def warmed_up(warmup: float, peak: float, after: Callable[[jax.Array], jax.Array]) -> optax.Schedule:
    """0 to `peak` over `warmup` steps, then `after(step)`; both take and return float32 of any shape."""

    def schedule(step: jax.Array) -> jax.Array:
        at = jnp.asarray(step, jnp.float32)
        return jnp.where(at < warmup, peak * at / max(warmup, 1e-9), after(at))

    return schedule


def require(holds: bool, option: str, value: object, wanted: str) -> None:
    """Raises ConfigError, naming the schedule's option, its value and what it must be, unless `holds`."""
    if not holds:
        raise ConfigError(f"config.phases.schedule: {option}={value!r}; it must be {wanted}")
