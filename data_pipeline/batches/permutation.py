"""Randomness without state: keyed hashes, and keyed permutations of any size.

The position of an example in an epoch is `permute(index, size, key)`: nothing is shuffled in memory
or replayed, so a run resumes at any step at once and every host computes its own part.
"""

import numpy as np

_ROUNDS = 4
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio: steps that never coincide


def hashed(*parts: int | np.ndarray) -> np.ndarray:
    """A 64-bit hash of the parts, each an integer of any sign or an integer array; arrays broadcast.

    Returns:
      uint64, of the broadcast shape; at least [1].
    """
    state = np.zeros(1, np.uint64)
    for part in parts:
        state = _scramble(state + _GOLDEN + _as_uint64(part))
    return state


def permute(index: np.ndarray, size: int, key: np.ndarray) -> np.ndarray:
    """The image of each index under the permutation of range(size) that its key names.

    An invertible scrambling of the smallest range of 2^b >= size, walked along its cycle until it
    falls inside range(size), is a permutation of range(size) (Black and Rogaway 2002, "Ciphers with
    arbitrary finite domains"); fewer than two steps on average.

    Args:
      index: integers in range(size), [B].
      size: at least 1.
      key: uint64 [B], or [1] for one permutation.

    Returns:
      int64 [B].
    """
    bits = max(1, int(size - 1).bit_length())
    keys, which = np.unique(np.broadcast_to(key, index.shape), return_inverse=True)
    factors = [hashed(keys, 2 * i) | np.uint64(1) for i in range(_ROUNDS)]
    offsets = [hashed(keys, 2 * i + 1) for i in range(_ROUNDS)]
    image = index.astype(np.uint64)
    outside = np.arange(image.size)
    while outside.size:
        image[outside] = _scramble_bits(image[outside], bits, factors, offsets, which[outside])
        outside = outside[image[outside] >= size]
    return image.astype(np.int64)


def _scramble_bits(
    x: np.ndarray, bits: int, factors: list[np.ndarray], offsets: list[np.ndarray], key: np.ndarray
) -> np.ndarray:
    """An invertible map of range(2^bits): every round is a keyed odd multiple, a keyed shift and a fold."""
    mask = np.uint64((1 << bits) - 1)
    half = np.uint64((bits + 1) // 2)
    for factor, offset in zip(factors, offsets, strict=True):
        x = (x * factor[key] + offset[key]) & mask
        x = x ^ (x >> half)
    return x


def _scramble(x: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators")."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _as_uint64(part: int | np.ndarray) -> np.ndarray:
    if isinstance(part, np.ndarray):
        return part.astype(np.uint64)
    return np.array([int(part) % (1 << 64)], np.uint64)
