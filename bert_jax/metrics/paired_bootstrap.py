"""Whether one system is better than another on the same examples: the paired bootstrap (Efron and Tibshirani 1993)."""

import functools
from collections.abc import Callable, Iterator

import numpy as np

from bert_jax.metrics import check_finite, check_lengths
from configuration.variants import require

_DRAWN_AT_ONCE = 1 << 22  # examples, about 100 MB
Statistic = Callable[[np.ndarray], np.ndarray]  # means of terms [..., k] → a figure [...]


def compute(
    first: np.ndarray,
    second: np.ndarray,
    *,
    statistic: Statistic | None = None,
    samples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, float]:
    """The difference of two systems' mean scores, and how far chance may explain it.

    Examples are drawn again with replacement, the same for both systems, `samples` times.

    Args:
      first, second: scores of each example, such as 0 and 1 or F1: float [n]. With `statistic` its terms, [n, k], or
        those of several runs, [runs, n, k], whose mean counts.
      statistic: the figure as a function of the means of its terms, such as a correlation.
      samples: how often; p is no smaller than 2 / (samples + 1).
      confidence: of the interval.
      seed: of the draws.

    Returns:
      first and second, the mean scores, or the figures; difference, second - first; low and high, the interval of its
      percentiles; p, two-sided: twice the share of the draws in which the difference has the other sign or is 0 (at
      most 1).

    Raises:
      DataError: no example, different numbers of them, or a score that is no number.
      ConfigError: samples or confidence that cannot be.
    """
    require(samples > 0, "samples", samples, "at least 1")
    require(0 < confidence < 1, "confidence", confidence, "between 0 and 1")
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    terms = [_terms(values, statistic is None) for values in (first, second)]
    check_lengths(first=terms[0][0], second=terms[1][0])
    check_finite("first", first)
    check_finite("second", second)
    figure = functools.partial(_figure, statistic or _mean)
    drawn = [
        figure(_means(terms[1], times)) - figure(_means(terms[0], times))
        for times in _draws(terms[0].shape[1], samples, np.random.default_rng(seed))
    ]
    differences = np.concatenate(drawn)
    before, after = (float(figure(each.mean(1))) for each in terms)
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    below, above = np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0)
    return {
        "first": before,
        "second": after,
        "difference": after - before,
        "low": float(low),
        "high": float(high),
        "p": min(1.0, 2 * (min(below, above) + 1) / (samples + 1)),
    }


def _mean(means: np.ndarray) -> np.ndarray:
    return means[..., 0]


def _terms(values: np.ndarray, scores: bool) -> np.ndarray:
    """[runs, n, k]; scores [n] are a single term."""
    values = values[:, None] if scores else values
    return values if values.ndim == 3 else values[None]


def _figure(statistic: Statistic, means: np.ndarray) -> np.ndarray:
    """means [..., runs, k] → [...], the mean over the runs."""
    return statistic(means).mean(-1)


def _means(terms: np.ndarray, times: np.ndarray) -> np.ndarray:
    """terms [runs, n, k], how often each example is drawn [draws, n] → means [draws, runs, k]."""
    return np.einsum("dn,rnk->drk", times, terms, optimize=True) / times.shape[1]


def _draws(number: int, samples: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each of n examples is among n drawn with replacement, float64 [draws, n], some draws at a time."""
    rows = max(1, _DRAWN_AT_ONCE // number)
    for done in range(0, samples, rows):
        draws = min(rows, samples - done)
        places = generator.integers(number, size=(draws, number)) + number * np.arange(draws)[:, None]
        yield np.bincount(places.ravel(), minlength=draws * number).reshape(draws, number).astype(np.float64)
