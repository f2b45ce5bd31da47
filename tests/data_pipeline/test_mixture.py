"""Mixtures of splits: exact shares, however small, as a function of the number of the example."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.batches.mixture import Mixture
from data_pipeline.errors import DataError


@given(weights=st.lists(st.floats(1e-9, 1e9), min_size=2, max_size=6), first=st.integers(0, 2**55))
def test_every_stretch_has_its_shares_and_the_numbers_count_up(weights, first):
    mixture = Mixture(weights)
    splits, numbers = mixture.locate(np.arange(first, first + 300))
    total = sum(map(Fraction, weights))
    for split, weight in enumerate(weights):
        mine = numbers[splits == split]
        assert np.array_equal(mine, np.arange(mine[0], mine[0] + len(mine)) if len(mine) else mine)
        share = Fraction(weight) / total
        assert abs(len(mine) - 300 * share) <= len(weights)
        if len(mine):  # so many stood before the first of them
            place = first + int(np.flatnonzero(splits == split)[0])
            assert abs(int(mine[0]) - place * share) <= len(weights) / 2 + 0.1


def test_a_share_of_one_in_ten_million():
    mixture = Mixture([1.0, 1e-7, 0.5])
    found = []
    for middle in range(7_500_000, 60_000_000, 15_000_000):  # one in 15 million, and none in between
        splits, numbers = mixture.locate(np.arange(middle - 100_000, middle + 100_000))
        found += numbers[splits == 1].tolist()
        assert not (mixture.locate(np.arange(middle + 200_000, middle + 14_800_000, 10))[0] == 1).any()
    assert found == [0, 1, 2, 3]
    splits, numbers = mixture.locate(np.arange(10**15, 10**15 + 30_000_000, 1000))
    assert np.bincount(splits, minlength=3)[[0, 2]] == pytest.approx([20_000, 10_000], abs=30)


def test_the_same_whatever_is_asked_together():
    mixture = Mixture([3, 1e-3, 0.2])
    splits, numbers = mixture.locate(np.arange(5000))
    order = np.random.default_rng(0).permutation(5000)
    again = mixture.locate(order)
    np.testing.assert_array_equal(again[0], splits[order])
    np.testing.assert_array_equal(again[1], numbers[order])


@pytest.mark.parametrize("weights", [[1, 0], [1, -1], [1, float("nan")], [1, float("inf")], [1, 1e-300], [1e-300, 1]])
def test_weights_that_make_no_mixture(weights):
    with pytest.raises(DataError, match=r"the weights of the mixture are \["):
        Mixture(weights)
