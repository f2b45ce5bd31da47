"""A guard against loss spikes: updates with a non-finite or outlying gradient norm are skipped.

`wrap` holds the guard in the optimizer's state. The train step hands it the norm of the gradient before clipping:
    updates, opt_state = optimizer.update(gradients, opt_state, params, norm=norm)
and reads `counts(opt_state)`. A skipped step leaves parameters, moments, averages and the optimizer's own count of
updates as they were, bit by bit; the learning rate follows the run's steps nevertheless (state.make_optimizer), as
phases and batches do. Going back to a checkpoint after many in a row is the training loop's business.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from configuration.variants import ConfigError


class GuardState(NamedTuple):
    """The wrapped optimizer's state, what is known of the norms, and what was skipped; scalars."""

    inner: optax.OptState
    typical_norm: jax.Array  # float32: moving average of the finite norms, each counted up to the limit
    seen_norms: jax.Array  # int32: finite norms so far
    skipped: jax.Array  # int32: updates not made
    skipped_in_a_row: jax.Array  # int32: of them, since the last that was made


def wrap(
    optimizer: optax.GradientTransformation, *, factor: float = 10.0, decay: float = 0.99, grace: int = 100
) -> optax.GradientTransformationExtraArgs:
    """`optimizer`, whose `update` takes `norm`, float32 [], and makes no update if the norm is bad.

    A norm is bad if it is not finite, or, from `grace` finite norms on, above `factor` times their moving average.
    An outlier enters the average as that limit, so that norms that have risen for good are accepted in time.

    Args:
      optimizer: any; further arguments of its `update` are handed on.
      factor: how many times the typical norm is an outlier; infinity skips what is not finite alone.
      decay: of the moving average, corrected for its start.
      grace: finite norms to see before any is an outlier: the first of a run are large and vary.

    Raises:
      ConfigError: an option is out of range.
    """
    _require(factor > 1, "factor", factor, "above 1 (infinity skips what is not finite alone)")
    _require(0 < decay < 1, "decay", decay, "between 0 and 1")
    _require(grace >= 1, "grace", grace, "at least 1 step")
    inner = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> GuardState:
        zero = jnp.zeros([], jnp.int32)
        return GuardState(inner.init(params), jnp.zeros([], jnp.float32), zero, zero, zero)

    def update(
        grads: Any, state: GuardState, params: Any = None, *, norm: jax.Array, **extra: Any
    ) -> tuple[Any, GuardState]:
        finite = jnp.isfinite(norm)
        limit = jnp.where(state.seen_norms >= grace, factor * state.typical_norm, jnp.inf)
        good = finite & (norm <= limit)

        seen = state.seen_norms + finite
        share = (1 - decay) / -jnp.expm1(jnp.maximum(seen, 1).astype(jnp.float32) * math.log(decay))
        typical = state.typical_norm + share * (jnp.minimum(norm, limit) - state.typical_norm)
        typical = jnp.where(finite, typical, state.typical_norm)

        updates, inner_state = inner.update(grads, state.inner, params, **extra)
        # A selection, not a branch: it fuses into the update's loops, which read the old values anyway.
        updates = jax.tree.map(lambda u: jnp.where(good, u, jnp.zeros_like(u)), updates)
        inner_state = jax.tree.map(lambda new, old: jnp.where(good, new, old), inner_state, state.inner)
        in_a_row = jnp.where(good, 0, state.skipped_in_a_row + 1)
        return updates, GuardState(inner_state, typical, seen, state.skipped + ~good, in_a_row)

    return optax.GradientTransformationExtraArgs(init, update)


def counts(opt_state: optax.OptState) -> dict[str, jax.Array]:
    """skipped and skipped_in_a_row of a guard in an optimizer's state; nothing if there is none."""
    names = ("skipped", "skipped_in_a_row")
    found = {name: optax.tree_utils.tree_get(opt_state, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _require(holds: bool, option: str, value: object, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"config.guard.{option} is {value!r}; it must be {wanted}")
