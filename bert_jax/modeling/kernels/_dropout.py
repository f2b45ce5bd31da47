"""Dropout on attention probabilities by a counter hash, so that a kernel computes its mask block by block, twice alike.

Whether a probability is kept is a function of the dropout key and of four numbers: its row in the global batch, its
head, its query's place and its key's. Words of 32 bits for queries, keys and heads come from the finaliser of
MurmurHash3 (Appleby, public domain), once per vector; for each pair a shorter mix of three of them decides.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.runtime.sharding import first_row


class Words(NamedTuple):
    """Hashes from which `kept` decides; those of heads are odd."""

    queries: jax.Array  # uint32 [B, P]
    keys: jax.Array  # uint32 [B, L]
    heads: jax.Array  # uint32 [N, 2]


def words(key: jax.Array, places: jax.Array, rows: int, heads: int, length: int) -> Words:
    """The words of a call.

    Args:
      key: of dropout.
      places: int [B, P] or [1, P], the queries' in their rows.
      rows: B, all of the global batch but within `per_replica`.
      heads: N, all of the model's.
      length: L, of the keys.
    """
    first, second = (word.astype(jnp.uint32) for word in jax.random.key_data(key)[:2])
    seeds = [_hash(_hash(jnp.uint32(use), first), second) for use in range(4)]
    row = (jnp.arange(rows, dtype=jnp.uint32) + jnp.uint32(first_row(rows)))[:, None]
    at = lambda seed, places: _hash(_hash(seed, row), places.astype(jnp.uint32))
    of_heads = jnp.stack([_hash(seed, jnp.arange(heads, dtype=jnp.uint32)) | 1 for seed in seeds[2:]], 1)
    return Words(at(seeds[0], places), at(seeds[1], jnp.arange(length)[None]), of_heads)


def kept(queries: jax.Array, keys: jax.Array, heads: tuple[jax.Array, jax.Array] | jax.Array, rate: float) -> jax.Array:
    """Which pairs dropout keeps, bool, a share of 1 − rate; words that broadcast against each other.

    A word's highest bits decide, so that it need not be mixed further down.
    """
    mixed = ((queries * heads[0]) ^ (keys * heads[1])) * jnp.uint32(0x7FEB352D)
    mixed = (mixed ^ (mixed >> jnp.uint32(15))) * jnp.uint32(0x846CA68B)
    return mixed >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))


def _hash(seed: jax.Array, number: jax.Array) -> jax.Array:
    """uint32 of both, every bit of which depends on all of theirs."""
    word = seed ^ number ^ jnp.uint32(0x9E3779B9)
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)
