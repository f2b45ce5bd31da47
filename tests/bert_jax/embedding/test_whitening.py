"""Whitening and PCA against NumPy, as the papers' code has them."""

import numpy as np
import pytest

from bert_jax.embedding import readout, whitening
from configuration.variants import ConfigError
from data_pipeline.errors import DataError


def make_vectors(number: int = 500, width: int = 12) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(number, width)) @ rng.normal(size=(width, width)) + 5).astype(np.float32)


def plain(x: np.ndarray, dimensions: int) -> np.ndarray:
    """compute_kernel_bias and transform_and_normalize of bojone/BERT-whitening, without the latter's normalisation."""
    x = x.astype(np.float64)
    u, s, _ = np.linalg.svd(np.cov(x.T))
    return (x - x.mean(0)) @ (u @ np.diag(1 / np.sqrt(s)))[:, :dimensions]


@pytest.mark.parametrize("dimensions", [12, 5])
def test_whitening_is_the_papers(dimensions: int) -> None:
    x = make_vectors()
    dense = whitening.fit(np.array_split(x, 7), dimensions)
    found = readout.apply((dense,), x)
    np.testing.assert_allclose(found, plain(x, dimensions), atol=2e-4)
    np.testing.assert_allclose(np.cov(np.asarray(found).T), np.eye(dimensions), atol=1e-3)
    assert (dense.about["texts"], dense.about["method"]) == (500, "whitening")


def test_normalised_afterwards() -> None:
    x = make_vectors()
    found = readout.apply((whitening.fit([x], 5), readout.Normalise()), x)
    wanted = plain(x, 5)
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-4)


def test_pca_keeps_the_directions_of_largest_variance() -> None:
    x = make_vectors()
    dense = whitening.fit([x[:100], x[100:]], 4, "pca")
    found = np.asarray(readout.apply((dense,), x))
    centred = x.astype(np.float64) - x.mean(0)
    _, s, v = np.linalg.svd(centred, full_matrices=False)
    wanted = centred @ v[:4].T
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), atol=1e-3)  # the sign of a direction is free
    assert dense.about["variance_kept"] == pytest.approx((s[:4] ** 2).sum() / (s**2).sum())


def test_moments_do_not_cancel_far_from_zero() -> None:
    x = make_vectors().astype(np.float64) + 1e5
    mean, covariance, number = whitening.moments(np.array_split(x, 5))
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(x.T), rtol=1e-8)
    assert number == 500


def test_too_few_texts_or_too_many_dimensions() -> None:
    x = make_vectors(6)
    with pytest.raises(DataError, match="6 texts have vectors in 5 directions; 12 cannot be whitened"):
        whitening.fit([x])
    assert whitening.fit([x], 5).kernel.shape == (12, 5)
    with pytest.raises(DataError, match="there are 1 texts to fit on"):
        whitening.fit([x[:1]])
    with pytest.raises(ConfigError, match="dimensions is 13"):
        whitening.fit([make_vectors()], 13)
