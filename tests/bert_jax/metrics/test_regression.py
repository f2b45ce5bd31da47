"""Correlations against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.metrics import regression
from data_pipeline.errors import DataError

VALUES = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=30)


def correlation(x, y):
    x, y = x - x.mean(), y - y.mean()
    spread = np.sqrt((x * x).sum() * (y * y).sum())
    return (x * y).sum() / spread if spread else 0.0


def ranks(values):
    """The mean of the ranks that equal values share."""
    return np.array([np.mean([i for i, other in enumerate(sorted(values)) if other == value]) for value in values])


@given(VALUES, st.sampled_from([1.0, 0.1, -1e3]))
def test_as_defined(pairs, scale):
    targets, predicted = np.array(pairs).T
    found = regression.compute(targets, scale * predicted)
    assert found["pearson"] == pytest.approx(correlation(targets, scale * predicted), abs=1e-9)
    assert found["spearman"] == pytest.approx(correlation(ranks(targets), ranks(scale * predicted)), abs=1e-9)


def test_edge_cases():
    assert regression.compute(np.ones(3), np.arange(3)) == {"pearson": 0, "spearman": 0}
    assert regression.compute(np.arange(3), np.ones(3)) == {"pearson": 0, "spearman": 0}
    assert regression.compute([0, 1], [3, 2]) == pytest.approx({"pearson": -1, "spearman": -1})
    with pytest.raises(DataError, match="needs two examples or more"):
        regression.compute([1], [1])
    with pytest.raises(DataError, match=r"predicted\[1\] is inf"):
        regression.compute([1, 2], [1, np.inf])
    with pytest.raises(DataError, match="there are 2 targets, 1 predicted"):
        regression.compute([1, 2], [1])
