"""Graded values: correlations."""

import numpy as np

from bert_jax.metrics import check_finite, check_lengths, need
from data_pipeline.errors import DataError

CORRELATIONS = ("pearson", "spearman")


def terms(targets: np.ndarray, predicted: np.ndarray, ranks: bool) -> np.ndarray:
    """float64 [n, 5] whose means give the correlation, by `correlation`: of the ranks among all n, or of the values."""
    need("scipy")
    from scipy import stats

    x, y = (stats.rankdata(values) if ranks else np.asarray(values, np.float64) for values in (targets, predicted))
    x, y = ((values - values.mean()) / (values.std() or 1.0) for values in (x, y))
    return np.stack([x, y, x * x, y * y, x * y], axis=-1)


def correlation(means: np.ndarray) -> np.ndarray:
    """means [..., 5] of `terms` → [...]; 0 where all values are equal."""
    x, y, xx, yy, xy = np.moveaxis(means, -1, 0)
    variances = (xx - x * x) * (yy - y * y)
    return np.where(variances > 1e-20, (xy - x * y) / np.sqrt(np.maximum(variances, 1e-20)), 0.0)


def compute(targets: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Correlations of values, as GLUE has them for STS-B.

    Args:
      targets, predicted: float [n].

    Returns:
      pearson, and spearman of the ranks, where equal values share their mean rank. Both are 0 where all targets or all
      predictions are equal, where no correlation is defined.

    Raises:
      DataError: fewer than two examples, different numbers of them, or a value that is no number.
    """
    need("scipy")
    from scipy import stats

    targets, predicted = np.asarray(targets, np.float64), np.asarray(predicted, np.float64)
    check_lengths(targets=targets, predicted=predicted)
    check_finite("targets", targets)
    check_finite("predicted", predicted)
    if len(targets) < 2:
        raise DataError("a correlation needs two examples or more; there is 1")
    if np.ptp(targets) == 0 or np.ptp(predicted) == 0:
        return {"pearson": 0.0, "spearman": 0.0}
    return {
        "pearson": float(stats.pearsonr(targets, predicted).statistic),
        "spearman": float(stats.spearmanr(targets, predicted).statistic),
    }
