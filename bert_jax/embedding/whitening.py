"""Linear maps fit on vectors: whitening (Su et al. 2021, arXiv 2103.15316, section 3) and PCA.

Both are x ↦ (x − μ) W, a dense layer after pooling: `Dense(W, −μ W)`.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np

from bert_jax.embedding.readout import Dense
from configuration.variants import ConfigError
from data_pipeline.errors import DataError

Method = Literal["whitening", "pca"]
SMALLEST = 1e-10  # of a direction's variance, as a share of the largest


def fit(
    chunks: Iterable[np.ndarray], dimensions: int = 0, method: Method = "whitening", about: Mapping[str, object] = {}
) -> Dense:
    """The map to the directions of largest variance: W = U[:, :k] S[:k]^−½ of the covariance U S Uᵀ; PCA: U[:, :k].

    Args:
      chunks: vectors float [any, D], as pooling gives them; each chunk is read once.
      dimensions: k; 0 for D.
      about: what is said of the texts.

    Raises:
      ConfigError: more dimensions than the vectors have.
      DataError: fewer than two vectors, or fewer directions with a variance than are to be whitened.
    """
    mean, covariance, number = moments(chunks)
    width = len(mean)
    if not 0 <= dimensions <= width:
        raise ConfigError(f"dimensions is {dimensions}; it must be between 0 (all) and the vectors' {width}")
    dimensions = dimensions or width
    directions, variances, _ = np.linalg.svd(covariance)
    found = int((variances > SMALLEST * variances[0]).sum())
    if method == "whitening" and found < dimensions:
        raise DataError(
            f"{number:,} texts have vectors in {found} directions; {dimensions} cannot be whitened: fit on more texts, "
            f"or set dimensions to {found} at most"
        )
    kernel = directions[:, :dimensions]
    if method == "whitening":
        kernel = kernel / np.sqrt(variances[:dimensions])
    said = {
        "method": method,
        "texts": number,
        "variance_kept": float(variances[:dimensions].sum()) / float(variances.sum()),
    }
    return Dense(kernel.astype(np.float32), (-mean @ kernel).astype(np.float32), about=said | dict(about))


def moments(chunks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean float64 [D], covariance [D, D] with n − 1 as np.cov has it, and n.

    The first chunk's mean is subtracted before summing, to avoid cancellation.
    """
    number, shift, total, squares = 0, np.zeros(0), np.zeros(0), np.zeros((0, 0))
    for chunk in chunks:
        chunk = np.asarray(chunk, np.float64)
        if not number:
            shift = chunk.mean(0)
            total, squares = np.zeros_like(shift), np.zeros((len(shift), len(shift)))
        rest = chunk - shift
        number, total, squares = number + len(chunk), total + rest.sum(0), squares + rest.T @ rest
    if number < 2:
        raise DataError(f"there are {number} texts to fit on; give two at least")
    mean = total / number
    return shift + mean, (squares - number * np.outer(mean, mean)) / (number - 1), number
