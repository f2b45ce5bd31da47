"""The share of a row that is predicted, over a run: one schedule a file, named by `objective.mask_rate`.

`build(*, options) -> Rate`. A rate is a pure function of the share of the run's steps that are done, so a run resumes
exactly, and all its steps have slots for the highest one, so each phase is compiled once.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.objectives import Batch, moment_of
from configuration.variants import ConfigError, Variant, load


class Rate(NamedTuple):
    """`at(share) -> rate`: float32 [] of the run that is done, from 0 to 1, to the share of a row's text tokens."""

    at: Callable[[jax.Array], jax.Array | float]
    highest: float  # over the whole run


def rate_of(mask_rate: float | Variant) -> Rate:
    """The rate that an objective's option names: a schedule, or a number for one that never changes.

    Raises:
      ConfigError: no such schedule, or a rate that is no share above 0.
    """
    if isinstance(mask_rate, Variant):
        return load("bert_jax.objectives.rates", mask_rate)()
    check_rates(mask_rate=mask_rate)
    return Rate(lambda share: mask_rate, mask_rate)


def check_rates(**rates: float) -> None:
    """Raises ConfigError if one of these options is no share of a row."""
    for name, rate in rates.items():
        if not 0 < rate <= 1:
            where = name if name == "mask_rate" else f"mask_rate.{name}"
            raise ConfigError(f"config.objective.{where} is {rate}; it must be a share above 0, at most 1")


def between(first: float, last: float, curve: Callable[[jax.Array], jax.Array]) -> Rate:
    """From `first` to `last` along a curve from 1 to 0."""
    check_rates(first=first, last=last)
    return Rate(lambda share: last + (first - last) * curve(share), max(first, last))


def now(rate: Rate, batch: Batch) -> jax.Array | float:
    """The rate at the batch's moment; the run's last one without a moment, as in evaluation."""
    moment = moment_of(batch)
    if moment is None:
        return rate.at(jnp.float32(1))
    return rate.at(jnp.minimum(jnp.asarray(moment.step, jnp.float32) / max(1, moment.steps - 1), 1))


def stretches(rates: Sequence[float], share: jax.Array) -> jax.Array:
    """The rate of the stretch that `share` is in, of as many equal ones as there are rates."""
    number = jnp.minimum((share * len(rates)).astype(jnp.int32), len(rates) - 1)
    return jnp.asarray(rates, jnp.float32)[number]
