"""The sentences of a shard, block by block, cut where they are too long."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data_pipeline.rows import Offsets
from data_pipeline.store.memory import release

_BLOCK = 1 << 18  # sentences looked at together: a few MB of work arrays


class Units(NamedTuple):
    """Consecutive sentences, or parts of those that are too long; u of them."""

    starts: np.ndarray  # int64 [u], first token
    stops: np.ndarray  # int64 [u], one past the last token
    documents: np.ndarray  # int64 [u]

    def part(self, first: int | None, last: int | None) -> "Units":
        """The units first … last-1."""
        return Units(*(array[first:last] for array in self))

    def then(self, following: "Units") -> "Units":
        """These units and the following ones."""
        return Units(*(np.concatenate(pair) for pair in zip(self, following, strict=True)))


NO_UNITS = Units(*(np.zeros(0, np.int64) for _ in range(3)))


def sentences(shard: Offsets, room: int) -> Iterator[Units]:
    """The shard's sentences in order, none longer than `room` tokens and none empty, many at a time."""
    count = len(shard.sentence_offsets) - 1
    for first in range(0, count, _BLOCK):
        last = min(first + _BLOCK, count)
        tokens = shard.sentence_offsets[first : last + 1].astype(np.int64)
        units = Units(tokens[:-1], tokens[1:], _documents(shard.document_offsets, first, last))
        release(shard.sentence_offsets, shard.document_offsets)
        yield _cut_long(units, room)


def _documents(document_offsets: np.ndarray, first: int, last: int) -> np.ndarray:
    """The document of each of the sentences first … last-1."""
    lo = int(np.searchsorted(document_offsets, first, side="right")) - 1
    hi = int(np.searchsorted(document_offsets, last, side="left"))
    bounds = np.clip(document_offsets[lo : hi + 1].astype(np.int64), first, last)
    return np.repeat(np.arange(lo, hi), np.diff(bounds))


def _cut_long(units: Units, room: int) -> Units:
    """Cuts every sentence longer than `room` into parts of `room` tokens and a rest; drops empty ones."""
    lengths = units.stops - units.starts
    if lengths.size and lengths.min() > 0 and lengths.max() <= room:
        return units
    parts = -(-lengths // room)
    sentence = np.repeat(np.arange(lengths.size), parts)
    part = np.arange(sentence.size) - np.repeat(np.cumsum(parts) - parts, parts)
    starts = units.starts[sentence] + part * room
    return Units(starts, np.minimum(starts + room, units.stops[sentence]), units.documents[sentence])
