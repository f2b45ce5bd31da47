"""The rounds written out against published values and JAX's own random numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.modeling.threefry import threefry, written_out


@pytest.mark.parametrize(
    ("key", "counter", "hashed"),
    [  # the known answers of Random123 (Salmon et al. 2011), threefry2x32 of 20 rounds
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_known_answers(key, counter, hashed):
    words = [jnp.uint32(word) for word in counter]
    assert tuple(map(int, threefry(jnp.array(key, jnp.uint32), *words))) == hashed


@pytest.mark.parametrize("shape", [(), (1,), (101,), (37, 3), (3, 5, 7), (0, 4)])
@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.uint16, jnp.uint32])
def test_bits_are_those_of_jax(shape, dtype):
    key = jax.random.fold_in(jax.random.key(2**32 - 1), len(shape))
    np.testing.assert_array_equal(jax.random.bits(written_out(key), shape, dtype), jax.random.bits(key, shape, dtype))


def test_a_key_of_another_kind_stays():
    key = jax.random.key(3, impl="rbg")
    assert written_out(key) is key


def test_weights_are_those_of_jax_stacked_too():
    draw = lambda key: jax.random.truncated_normal(key, -2.0, 2.0, (31, 3))
    keys = jax.random.split(jax.random.key(5), 4)
    ours = jax.jit(jax.vmap(lambda key: draw(written_out(key))))(keys)
    np.testing.assert_array_equal(ours, jax.jit(jax.vmap(draw))(keys))
