"""Classes: accuracy, F1, Matthews correlation, expected calibration error, and the confusion matrix."""

import numpy as np

from bert_jax.metrics import check_finite, check_lengths, need
from data_pipeline.errors import DataError

_BINS = 15  # as Guo et al. 2017 have it
_ROUNDING = 1e-3  # of a sum of float16 or bfloat16 probabilities


def compute(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Scores of the most probable classes; of equally probable ones the first counts as predicted.

    Args:
      labels: the right classes, int [n].
      probabilities: float [n, C].

    Returns:
      accuracy; macro_f1, the mean F1 of the classes that occur among labels or predictions; micro_f1, which with one
      class an example equals the accuracy; f1 of class 1 where there are two, as GLUE has it for MRPC and QQP;
      matthews, 0 where labels or predictions are all of one class; calibration_error. A class that is never
      predicted, or never right, has an F1 of 0.

    Raises:
      DataError: no example, different numbers of them, a label that is no class, or rows that are no probabilities.
    """
    need("sklearn")
    from sklearn import metrics

    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    check_lengths(labels=labels, probabilities=probabilities)
    check_finite("probabilities", probabilities)
    _check_classes(labels, probabilities)
    predicted = probabilities.argmax(-1)
    occurring = len(np.union1d(labels, predicted))
    f1 = lambda **options: float(metrics.f1_score(labels, predicted, zero_division=0, **options))
    return {
        "accuracy": float(np.mean(labels == predicted)),
        "macro_f1": f1(average="macro"),
        "micro_f1": f1(average="micro"),
        **({"f1": f1(labels=[1], average="macro")} if probabilities.shape[1] == 2 else {}),
        "matthews": float(metrics.matthews_corrcoef(labels, predicted)) if occurring > 1 else 0.0,
        "calibration_error": calibration_error(labels, probabilities),
    }


def _check_classes(labels: np.ndarray, probabilities: np.ndarray) -> None:
    classes = probabilities.shape[1]
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise DataError(f"labels[{wrong[0]}] is {labels[wrong[0]]}; the classes are 0 to {classes - 1}")
    off = np.flatnonzero((np.abs(probabilities.sum(-1) - 1) > _ROUNDING) | (probabilities < 0).any(-1))
    if len(off):
        raise DataError(f"probabilities[{off[0]}] sums to {probabilities[off[0]].sum():g}; give softmax of the logits")


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = _BINS) -> float:
    """Expected calibration error (Guo et al. 2017, section 2) of the probability of the predicted class.

    The bins are equally wide, (0, 1/bins], (1/bins, 2/bins], …; of each, the distance of the mean probability
    from the accuracy counts by the share of the examples that it holds. An empty bin counts nothing.

    Args:
      labels: int [n].
      probabilities: float [n, C].
    """
    confidence, right = probabilities.max(-1), probabilities.argmax(-1) == labels
    edges = np.linspace(0, 1, bins + 1)
    number = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    distance = np.bincount(number, confidence - right, bins)  # of the sums, which is count times the distance of means
    return float(np.abs(distance).sum() / len(labels))


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """How often each class was taken for each: int64 [C, C], the right class first.

    Args:
      labels, predicted: int [n].
      classes: C.
    """
    pairs = np.asarray(labels, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
