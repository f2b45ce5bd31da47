"""JAX's random numbers by a program that compiles quickly on the CPU.

There JAX writes Threefry's rounds as a loop, each of whose operations is compiled by itself: five times the work of the
rounds one after the other, once for every array of weights. Where a number has several uses, the rounds may be
compiled, and computed, once for each; so this is for arrays that are drawn, and no more.
"""

import math

import jax
import jax.numpy as jnp
from jax.extend import random as jax_random

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def written_out(key: jax.Array) -> jax.Array:
    """A key that draws the same numbers as `key`; `key` itself where it is not of JAX's Threefry."""
    if jax.random.key_impl(key) != "threefry2x32":
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=_WRITTEN_OUT)


def threefry(key: jax.Array, first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Threefry-2x32 of 20 rounds (Salmon et al. 2011): a hash of two words by a key of two, all uint32."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(_PARITY))
    first, second = first + keys[0], second + keys[1]
    for group in range(5):
        for bits in _ROTATIONS[group % 2]:
            first += second
            second = ((second << jnp.uint32(bits)) | (second >> jnp.uint32(32 - bits))) ^ first
        first += keys[(group + 1) % 3]
        second += keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return first, second


def _bits(key: jax.Array, width: int, shape: tuple[int, ...]) -> jax.Array:
    """As `jax.random.bits` draws them."""
    if width != 32 or math.prod(shape) >= 2**32:
        return jax_random.threefry_prng_impl.random_bits(key, width, shape)
    place = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    first, second = threefry(key, jnp.zeros_like(place), place)
    return first ^ second


_WRITTEN_OUT = jax_random.define_prng_impl(
    key_shape=jax_random.threefry_prng_impl.key_shape,
    seed=jax_random.threefry_prng_impl.seed,
    split=jax_random.threefry_prng_impl.split,
    fold_in=jax_random.threefry_prng_impl.fold_in,
    random_bits=_bits,
    name="threefry2x32_written_out",
    tag="fry_out",
)
