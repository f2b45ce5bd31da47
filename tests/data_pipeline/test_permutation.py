import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.batches.permutation import hashed, permute


@given(size=st.integers(1, 3000), key=st.integers(-(2**63), 2**63))
def test_is_a_permutation(size, key):
    image = permute(np.arange(size), size, hashed(key))
    assert np.array_equal(np.sort(image), np.arange(size))


def test_keys_give_each_element_its_own_permutation():
    keys = hashed(np.array([1, 2]))
    both = permute(np.tile(np.arange(50), 2), 50, np.repeat(keys, 50))
    assert np.array_equal(both[:50], permute(np.arange(50), 50, keys[:1]))
    assert np.array_equal(both[50:], permute(np.arange(50), 50, keys[1:]))
    assert not np.array_equal(both[:50], both[50:])


@pytest.mark.parametrize("size", [5, 64, 1000, 4097])
def test_every_place_is_reached_from_every_index_equally_often(size):
    """Chi-squared of index 0's and a neighbour's image, and of the difference of the two, over many keys."""
    keys = hashed(np.arange(40 * size))
    first, second = permute(np.zeros(40 * size), size, keys), permute(np.ones(40 * size), size, keys)
    difference = (second - first) % size
    assert difference.min() > 0
    for image, cells in ((first, size), (second, size), (difference - 1, size - 1)):
        counts = np.bincount(image, minlength=cells)
        expected = len(keys) / cells
        chi_squared = ((counts - expected) ** 2 / expected).sum()
        freedom = cells - 1
        assert abs(chi_squared - freedom) < 5 * np.sqrt(2 * freedom) + 5


def test_sizes_beyond_32_bits():
    image = permute(np.arange(10_000), 2**40 + 7, hashed(3))
    assert len(set(image.tolist())) == 10_000
    assert image.min() >= 0
    assert image.max() < 2**40 + 7
    assert abs(image.mean() / 2**40 - 0.5) < 0.02


def test_hashes_differ_in_every_part_and_broadcast():
    assert hashed(1, 2).shape == (1,)
    assert len({int(hashed(*parts)[0]) for parts in [(1, 2), (2, 1), (1, 3), (-1, 2), (1, 2, 0)]}) == 5
    assert np.array_equal(hashed(1, np.array([5, 6])), np.concatenate([hashed(1, 5), hashed(1, 6)]))
