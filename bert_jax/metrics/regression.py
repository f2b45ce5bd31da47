"""Graded values: correlations."""

import numpy as np

from bert_jax.metrics import check_finite, check_lengths, need
from data_pipeline.errors import DataError


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
