"""Whether one system is better than another on the same examples: the paired bootstrap (Efron and Tibshirani 1993)."""

import numpy as np

from bert_jax.metrics import check_finite, check_lengths
from configuration.variants import require

_DRAWN_AT_ONCE = 1 << 22  # examples, 32 MB


def compute(
    first: np.ndarray, second: np.ndarray, *, samples: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> dict[str, float]:
    """The difference of two systems' mean scores, and how far chance may explain it.

    Examples are drawn again with replacement, the same for both systems, `samples` times.

    Args:
      first, second: scores of each example, such as 0 and 1 or F1: float [n].
      samples: how often; p is no smaller than 2 / (samples + 1).
      confidence: of the interval.
      seed: of the draws.

    Returns:
      first and second, the mean scores; difference, second - first; low and high, the interval of its percentiles;
      p, two-sided: twice the share of the draws in which the difference has the other sign or is 0 (at most 1).

    Raises:
      DataError: no example, different numbers of them, or a score that is no number.
      ConfigError: samples or confidence that cannot be.
    """
    require(samples > 0, "samples", samples, "at least 1")
    require(0 < confidence < 1, "confidence", confidence, "between 0 and 1")
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    check_lengths(first=first, second=second)
    check_finite("first", first)
    check_finite("second", second)
    drawn = _means(second - first, samples, np.random.default_rng(seed))
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    below, above = np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0)
    return {
        "first": float(first.mean()),
        "second": float(second.mean()),
        "difference": float(second.mean() - first.mean()),
        "low": float(low),
        "high": float(high),
        "p": min(1.0, 2 * (min(below, above) + 1) / (samples + 1)),
    }


def _means(values: np.ndarray, samples: int, generator: np.random.Generator) -> np.ndarray:
    """Means of as many values drawn with replacement, float64 [samples]."""
    rows = max(1, _DRAWN_AT_ONCE // len(values))
    counts = [min(rows, samples - done) for done in range(0, samples, rows)]
    return np.concatenate([values[generator.integers(len(values), size=(n, len(values)))].mean(-1) for n in counts])
