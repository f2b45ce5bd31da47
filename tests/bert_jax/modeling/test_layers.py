"""The bits of dropout: those of Threefry as NumPy computes it, each used once, whatever the shape and the mesh."""

import itertools

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from bert_jax.modeling.layers import dropout, random_bits

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry(key: tuple[int, int], row: int, place: int) -> tuple[int, int]:
    """Threefry-2x32 of 20 rounds (Salmon et al. 2011, section 3.3), in Python's integers."""
    low = lambda x: x & 0xFFFFFFFF
    keys = (*key, key[0] ^ key[1] ^ 0x1BD11BDA)
    a, b = low(row + keys[0]), low(place + keys[1])
    for turn in range(5):
        for distance in ROTATIONS[turn % 2]:
            a = low(a + b)
            b = a ^ low(b << distance | b >> (32 - distance))
        a, b = low(a + keys[(turn + 1) % 3]), low(b + keys[(turn + 2) % 3] + turn + 1)
    return a, b


@pytest.mark.parametrize("shape", [(3, 8, 5), (2, 7, 3), (1, 2, 5, 3), (5, 6), (4, 1)], ids=str)
def test_four_values_of_each_hash(shape):
    key = jax.random.key(7)
    found = np.asarray(random_bits(key, shape))
    assert found.shape == shape
    assert found.dtype == np.uint16
    axis = max(1, len(shape) - 2)
    part = -(-shape[axis] // 4)
    hashed = (*shape[:axis], part, *shape[axis + 1 :])
    a, b = (int(x) for x in jax.random.key_data(key))
    for index in itertools.product(*map(range, shape)):
        quarter, rest = divmod(index[axis], part)
        inside = (*index[1:axis], rest, *index[axis + 1 :])
        word = threefry((a, b), index[0], int(np.ravel_multi_index(inside, hashed[1:])))[quarter // 2]
        assert found[index] == word >> 16 * (quarter % 2) & 0xFFFF


def test_bits_are_even_and_independent():
    bits = np.asarray(random_bits(jax.random.key(1), (64, 128, 96)))
    counts = np.bincount((bits >> 8).ravel(), minlength=256)
    expected = bits.size / 256
    assert abs(((counts - expected) ** 2 / expected).sum() - 255) < 5 * (2 * 255) ** 0.5  # chi-squared
    centred = bits / 2**16 - 0.5
    for shift, axis in ((1, 0), (1, 1), (1, 2), (32, 1), (64, 1)):  # 32 and 64: other quarters of the same hash
        product = 12 * centred * np.roll(centred, shift, axis)
        assert abs(product.mean()) < 5 / bits.size**0.5


def test_a_split_batch_drops_the_same():
    x = jax.random.normal(jax.random.key(0), (8, 37, 24))
    whole = jax.jit(lambda x: dropout(x, 0.1, jax.random.key(3)))
    mesh = jax.make_mesh((len(jax.devices()),), ("data",))
    split = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    np.testing.assert_array_equal(whole(split), whole(x))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
    x = np.ones((16, 37, 101), np.float32)
    out = np.asarray(dropout(x, rate, jax.random.key(2)))
    assert abs((out == 0).mean() - rate) < 5 * (rate * (1 - rate) / x.size) ** 0.5
    np.testing.assert_allclose(out[out > 0], 1 / (1 - rate), rtol=1e-6)
    assert dropout(x, 0.0, jax.random.key(2)) is x
    assert dropout(x, rate, None) is x
