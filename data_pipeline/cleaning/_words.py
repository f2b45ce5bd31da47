"""Words of a text in any language, and runs of them, as numbers."""

import functools
from typing import NamedTuple

import numpy as np

from data_pipeline.batches.permutation import hashed
from data_pipeline.cleaning._characters import code_points, table

_UNSPACED = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))  # Han and kana
_PART, _ALONE = 1, 2  # of a word, and a word by itself
_AT_ONCE = 1 << 20  # characters; a word that they cut is two
_BASE, _BASE_OF_RUNS = 0x100000001B3, 0x9E3779B97F4A7C15  # odd, so that there are inverses


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
    codes = code_points(text)
    kinds = _kinds()[codes]
    joined = (kinds[1:] == _PART) & (kinds[:-1] == _PART)
    starts, ends = kinds > 0, kinds > 0
    starts[1:] &= ~joined
    ends[:-1] &= ~joined
    firsts, stops = np.flatnonzero(starts), np.flatnonzero(ends) + 1
    return Words(_polynomials(codes + np.uint64(1), firsts, stops, _BASE), stops - firsts)


@functools.cache
def _kinds() -> np.ndarray:
    """uint8, of every code point: whether it is part of a word, or one alone; 0 for others."""
    kinds = table(lambda character: _PART if character.isalnum() or character == "_" else 0)
    for first, last in _UNSPACED:
        kinds[first : last + 1] = _ALONE
    return kinds


@functools.lru_cache(2)
def runs_in(text: str, length: int) -> np.ndarray:
    """`runs_of` the words of a text."""
    return runs_of(words_of(text).hashes, length)


def runs_of(hashes: np.ndarray, length: int) -> np.ndarray:
    """A hash of every run of `length` words, uint64 [n - length + 1]; of all n words where they are fewer."""
    length = min(length, len(hashes))
    firsts = np.arange(len(hashes) - length + 1 if length else 0)
    return hashed(_polynomials(hashes, firsts, firsts + length, _BASE_OF_RUNS))


def _polynomials(items: np.ndarray, firsts: np.ndarray, stops: np.ndarray, base: int) -> np.ndarray:
    """uint64: the polynomial in `base` of each stretch of items, uint64 [n]; a difference of two sums, shifted."""
    powers, inverses = _powers(base, 1 << len(items).bit_length())
    sums = np.zeros(len(items) + 1, np.uint64)
    np.cumsum(items * powers[: len(items)], out=sums[1:])
    return (sums[stops] - sums[firsts]) * inverses[firsts]


@functools.cache
def _powers(base: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The first powers of a base and of its inverse modulo 2^64, uint64 [number] each."""

    def powers(base: int) -> np.ndarray:
        return np.cumprod(np.append(np.uint64(1), np.full(number - 1, base, np.uint64)), dtype=np.uint64)

    return powers(base), powers(pow(base, -1, 1 << 64))
