"""Which probabilities the TPU kernels' dropout keeps: the hash as Python computes it, its rate, and independence."""

import itertools

import jax
import jax.numpy as jnp
import kernel_checks as checks
import numpy as np
import pytest

ROWS, HEADS, LENGTH = 4, 3, 256
LOW = 0xFFFFFFFF


def mix(seed: int, number: int) -> int:
    """The finaliser of MurmurHash3, in Python's integers."""
    word = seed ^ number ^ 0x9E3779B9
    word = (word ^ word >> 16) * 0x85EBCA6B & LOW
    word = (word ^ word >> 13) * 0xC2B2AE35 & LOW
    return word ^ word >> 16


def kept(key: tuple[int, int], row: int, head: int, query: int, keyed: int, rate: float) -> bool:
    """Of one pair of query and key."""
    seeds = [mix(mix(use, key[0]), key[1]) for use in range(4)]
    of_query, of_key = mix(mix(seeds[0], row), query), mix(mix(seeds[1], row), keyed)
    of_head = [mix(seed, head) | 1 for seed in seeds[2:]]
    word = ((of_query * of_head[0] ^ of_key * of_head[1]) & LOW) * 0x7FEB352D & LOW
    word = (word ^ word >> 15) * 0x846CA68B & LOW
    return word >= round(rate * 2**32)


def test_the_mask_is_a_function_of_key_row_head_query_and_key():
    key, places = jax.random.key(7), np.array([[3, 0, 36], [11, 5, 5]])
    mask = checks.dropout_mask(key, 0.3, (2, 3, 3, 37), places)
    words = tuple(int(x) for x in jax.random.key_data(key))
    for row, head, query, keyed in itertools.product(*map(range, mask.shape)):
        assert mask[row, head, query, keyed] == kept(words, row, head, int(places[row, query]), keyed, 0.3)


@pytest.fixture(params=[0.1, 0.5], ids=str)
def masks(request):
    """Of four seeds, [4, B, N, L, L]: what is kept, with mean 0 and variance 1; key(0)'s two words are alike."""
    shape = (ROWS, HEADS, LENGTH, LENGTH)
    draw = lambda key: checks.dropout_mask(key, request.param, shape)
    drawn = np.asarray([draw(jax.random.key(0)), *map(draw, jax.random.split(jax.random.key(1), 3))], np.float64)
    return (drawn - (1 - request.param)) / (request.param * (1 - request.param)) ** 0.5


def test_the_rate_is_right_everywhere(masks):
    """χ² of how many are kept: altogether, in each row, head, query's row, key's column and diagonal."""
    queries, keys = np.indices((LENGTH, LENGTH))
    diagonals = np.argsort((keys - queries) % LENGTH, axis=1)
    turned = np.take_along_axis(masks, np.broadcast_to(diagonals, masks.shape), -1)
    for values, axes in ((masks, (1, 2, 3, 4)), (masks, (3, 4)), (masks, 4), (masks, 3), (masks, 1), (turned, 3)):
        sums = values.sum(axes)
        squares = sums**2 / (values.size / sums.size)  # each with mean 1
        assert abs((squares - 1).sum()) < 5 * (2.1 * squares.size) ** 0.5


def test_pairs_are_independent(masks):
    """Along queries, keys, heads, rows and seeds, of a pair and its mirror image, and of a rectangle's corners."""
    uncorrelated = lambda product: abs(product.sum()) < 5 * product.size**0.5
    for axis, shift in itertools.product(range(5), (1, 2, 3, 8, 64, 128)):
        if shift < masks.shape[axis]:
            assert uncorrelated(masks * np.roll(masks, shift, axis)), (axis, shift)
    upper = np.triu_indices(LENGTH, 1)
    assert uncorrelated(masks[..., *upper] * np.swapaxes(masks, 3, 4)[..., *upper])
    for axes in itertools.combinations(range(5), 2):
        sides = masks * np.roll(masks, 1, axes[0])
        assert uncorrelated(sides * np.roll(sides, 1, axes[1])), axes


def test_neither_padding_nor_other_rows_change_the_mask():
    key = jax.random.key(2)
    small, large = (checks.dropout_mask(key, 0.1, shape) for shape in ((2, 3, 37, 37), (5, 4, 64, 128)))
    np.testing.assert_array_equal(small, large[:2, :3, :37, :37])


@pytest.mark.parametrize("rate", [1e-12, 1 - 1e-12])
def test_rates_near_the_ends(rate):
    mask = checks.dropout_mask(jax.random.key(0), rate, (1, 1, 64, 64))
    assert jnp.all(mask == (rate < 0.5))
