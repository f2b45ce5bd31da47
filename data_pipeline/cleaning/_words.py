"""Words of a text in any language, and runs of them, as numbers."""

import re
import zlib

import numpy as np

from data_pipeline.batches.permutation import hashed

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han and kana
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd


def words_of(text: str) -> list[str]:
    """Runs of letters and digits in lower case; where no spaces stand between words, characters."""
    return _WORD.findall(text.lower())


def hashes_of(words: list[str]) -> np.ndarray:
    """uint64 [n]."""
    return np.fromiter(map(zlib.crc32, map(str.encode, words)), np.uint64, len(words))


def runs_of(hashes: np.ndarray, length: int) -> np.ndarray:
    """A hash of every run of `length` words, uint64 [n - length + 1]; of all n words where they are fewer."""
    length = min(length, len(hashes))
    count = len(hashes) - length + 1 if length else 0
    runs = np.zeros(count, np.uint64)
    for i in range(length):
        runs = runs * _FACTOR + hashes[i : i + count]
    return hashed(runs)
