"""Words of a text in any language, and runs of them, as numbers."""

import functools
from typing import NamedTuple

import numpy as np

from data_pipeline.batches.permutation import hashed
from data_pipeline.cleaning._characters import code_points, table

_UNSPACED = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))  # Han and kana
_PART, _ALONE = 1, 2  # of a word, and a word by itself
_AT_ONCE = 1 << 20  # characters; a word that they cut is two
_BASE = 0x100000001B3  # odd, so that there is an inverse
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd


class Words(NamedTuple):
    """The words of a text in their order."""

    hashes: np.ndarray  # uint64 [n]
    lengths: np.ndarray  # int64 [n], in characters


@functools.lru_cache(1)  # several rules ask for the same text, one after the other
def words_of(text: str) -> Words:
    """Runs of letters and digits in lower case; where no spaces stand between words, characters."""
    lower = text.lower()
    parts = [_words(lower[first : first + _AT_ONCE]) for first in range(0, max(len(lower), 1), _AT_ONCE)]
    return Words(*map(np.concatenate, zip(*parts, strict=True)))


def _words(text: str) -> Words:
    """A word's hash is a polynomial in its characters, modulo 2^64: a difference of sums from the start, shifted."""
    codes = code_points(text)
    kinds = _kinds()[codes]
    joined = (kinds[1:] == _PART) & (kinds[:-1] == _PART)
    starts, ends = kinds > 0, kinds > 0
    starts[1:] &= ~joined
    ends[:-1] &= ~joined
    firsts, stops = np.flatnonzero(starts), np.flatnonzero(ends) + 1
    powers, inverses = _powers(1 << len(codes).bit_length())
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum((codes + np.uint64(1)) * powers[: len(codes)], out=sums[1:])
    return Words((sums[stops] - sums[firsts]) * inverses[firsts], stops - firsts)


@functools.cache
def _kinds() -> np.ndarray:
    """uint8, of every code point: whether it is part of a word, or one alone; 0 for others."""
    kinds = table(lambda character: _PART if character.isalnum() or character == "_" else 0)
    for first, last in _UNSPACED:
        kinds[first : last + 1] = _ALONE
    return kinds


@functools.cache
def _powers(number: int) -> tuple[np.ndarray, np.ndarray]:
    """The first powers of _BASE and of its inverse, uint64 [number] each."""

    def powers(base: int) -> np.ndarray:
        return np.cumprod(np.append(np.uint64(1), np.full(number - 1, base, np.uint64)), dtype=np.uint64)

    return powers(_BASE), powers(pow(_BASE, -1, 1 << 64))


@functools.lru_cache(2)
def runs_in(text: str, length: int) -> np.ndarray:
    """`runs_of` the words of a text."""
    return runs_of(words_of(text).hashes, length)


def runs_of(hashes: np.ndarray, length: int) -> np.ndarray:
    """A hash of every run of `length` words, uint64 [n - length + 1]; of all n words where they are fewer."""
    length = min(length, len(hashes))
    count = len(hashes) - length + 1 if length else 0
    runs = np.zeros(count, np.uint64)
    for i in range(length):
        runs = runs * _FACTOR + hashes[i : i + count]
    return hashed(runs)
