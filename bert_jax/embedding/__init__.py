"""Sentence vectors: pooling, packing, whitening, losses, search and metrics."""

import numpy as np


def unit(x: np.ndarray) -> np.ndarray:
    """Vectors [..., D] of floats divided by their lengths, in their dtype; zeros stay zeros."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
