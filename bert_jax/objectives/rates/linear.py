"""A masking rate that changes by the same amount at each step (Yang et al. 2022, arXiv 2212.10729, "linear decay")."""

from bert_jax.objectives.rates import Rate, between


def build(*, first: float = 0.3, last: float = 0.15) -> Rate:
    """The rate of the run's first step, on a line to that of its last one."""
    return between(first, last, lambda share: 1 - share)
