"""A masking rate that is constant over equal stretches of the run."""

import functools

from bert_jax.objectives.rates import Rate, check_rates, stretches
from configuration.variants import ConfigError


def build(*, rates: tuple[float, ...] = (0.3, 0.15)) -> Rate:
    """Equal stretches of the run, each at its rate.

    Raises:
      ConfigError: no rate, or one that is no share above 0.
    """
    if not rates:
        raise ConfigError("config.objective.mask_rate.rates is (); it must hold a rate")
    check_rates(**{f"rates.{number}": rate for number, rate in enumerate(rates)})
    return Rate(functools.partial(stretches, rates), max(rates))
