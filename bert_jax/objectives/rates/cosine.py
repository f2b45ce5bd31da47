"""A masking rate that changes by half a cosine, slowly at both ends (Yang et al. 2022, arXiv 2212.10729)."""

import jax.numpy as jnp

from bert_jax.objectives.rates import Rate, between


def build(*, first: float = 0.3, last: float = 0.15) -> Rate:
    """The rate of the run's first step, along half a cosine to that of its last one."""
    return between(first, last, lambda share: (1 + jnp.cos(jnp.pi * share)) / 2)
