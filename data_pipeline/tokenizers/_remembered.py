"""Texts that were met before are not encoded again."""

import itertools
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np

Text = TypeVar("Text", bound=Hashable)
Encoded = tuple[np.ndarray, np.ndarray]  # the ids of texts, one after the other, uint32; how many each has, int64


class Remembered(Generic[Text]):
    """The ids of the texts met so far. Text number i has `ids[starts[i] : starts[i] + lengths[i]]`.

    Args:
      encode: the ids of texts that all differ, in any order.
      nothing: the text that has no ids; its number is 0.
      most: if more texts are known, it starts again: rare ones are most of them, and are met once.
    """

    NOTHING = 0

    def __init__(self, encode: Callable[[Sequence[Text]], Encoded], nothing: Text, most: int):
        self._encode, self._nothing, self._most = encode, nothing, most
        self._clear()

    def _clear(self) -> None:
        self._numbers = {self._nothing: self.NOTHING}
        self._ids = np.zeros(0, np.uint32)
        self._starts = self._lengths = np.zeros(1, np.int64)

    def numbers(self, texts: Sequence[Text]) -> np.ndarray:
        """The number of each text, [len(texts)] int64, encoding those that are new; earlier numbers may end."""
        if len(self._numbers) > self._most:
            self._clear()
        new = list(set(texts).difference(self._numbers))
        self._numbers.update(zip(new, itertools.count(len(self._numbers)), strict=False))
        ids, lengths = self._encode(new)
        starts = self._ids.size + np.cumsum(lengths) - lengths
        self._ids = np.concatenate([self._ids, ids])
        self._starts, self._lengths = np.append(self._starts, starts), np.append(self._lengths, lengths)
        return np.fromiter(map(self._numbers.__getitem__, texts), np.int64, len(texts))

    def ids(self, numbers: np.ndarray) -> Encoded:
        """The ids of texts by their numbers."""
        starts, lengths = self._starts[numbers], self._lengths[numbers]
        ends = np.cumsum(lengths)
        places = np.repeat(starts - (ends - lengths), lengths) + np.arange(lengths.sum())
        return self._ids[places], lengths


def one_after_the_other(ids: Sequence[Sequence[int]]) -> Encoded:
    """The ids of texts, from those of each."""
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    return np.fromiter(itertools.chain.from_iterable(ids), np.uint32, lengths.sum()), lengths


def sums_of_groups(lengths: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The sum of lengths, int64, over each group of `sizes` members; groups follow each other."""
    return np.diff(np.concatenate([[0], np.cumsum(lengths)])[np.cumsum(sizes)], prepend=0)
