"""Greedy packing of whole sentences: a row takes sentences in order until the next does not fit.

Where a row ends depends only on where it begins, so the end of the row that *would* begin at each
sentence is found for many sentences at once, and then the rows are a walk along these ends.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data_pipeline.memory import release
from data_pipeline.rows import Offsets, Spans

_BLOCK = 1 << 18  # sentences looked at together: a few MB of work arrays


class _Units(NamedTuple):
    """Sentences, or parts of those that are longer than a row; u of them."""

    starts: np.ndarray  # int64 [u], first token
    stops: np.ndarray  # int64 [u], one past the last token
    documents: np.ndarray  # int64 [u]


def greedy_rows(shard: Offsets, room: int, separator: int, cross_documents: bool) -> Iterator[Spans]:
    """The rows of a shard, one piece for each document in a row.

    Args:
      shard: the offsets of its sentences and documents.
      room: tokens that fit into a row of one piece (the row's length less its specials).
      separator: what every further piece in a row costs besides its tokens.
      cross_documents: whether a row goes on with the next document.
    """
    rest = _Units(*(np.zeros(0, np.int64) for _ in range(3)))
    for units in _sentences(shard, room):
        rest = _Units(*(np.concatenate(pair) for pair in zip(rest, units, strict=True)))
        firsts = _row_firsts(rest, room, separator, cross_documents)
        if len(firsts) > 1:  # the last row may still grow with the sentences of the next block
            done = firsts[-1]
            yield _spans(_Units(*(a[:done] for a in rest)), firsts[:-1])
            rest = _Units(*(a[done:] for a in rest))
    if rest.starts.size:
        yield _spans(rest, np.zeros(1, np.int64))


def _sentences(shard: Offsets, room: int) -> Iterator[_Units]:
    sentences = len(shard.sentence_offsets) - 1
    for first in range(0, sentences, _BLOCK):
        last = min(first + _BLOCK, sentences)
        tokens = shard.sentence_offsets[first : last + 1].astype(np.int64)
        units = _Units(tokens[:-1], tokens[1:], _documents(shard.document_offsets, first, last))
        release(shard.sentence_offsets, shard.document_offsets)
        yield _cut_long(units, room)


def _documents(document_offsets: np.ndarray, first: int, last: int) -> np.ndarray:
    """The document of each of the sentences first … last-1."""
    lo = int(np.searchsorted(document_offsets, first, side="right")) - 1
    hi = int(np.searchsorted(document_offsets, last, side="left"))
    bounds = np.clip(document_offsets[lo : hi + 1].astype(np.int64), first, last)
    return np.repeat(np.arange(lo, hi), np.diff(bounds))


def _cut_long(units: _Units, room: int) -> _Units:
    """Cuts every sentence longer than `room` into parts of `room` tokens and a rest; drops empty ones."""
    lengths = units.stops - units.starts
    if lengths.size and lengths.min() > 0 and lengths.max() <= room:
        return units
    parts = -(-lengths // room)
    sentence = np.repeat(np.arange(lengths.size), parts)
    part = np.arange(sentence.size) - np.repeat(np.cumsum(parts) - parts, parts)
    starts = units.starts[sentence] + part * room
    return _Units(starts, np.minimum(starts + room, units.stops[sentence]), units.documents[sentence])


def _row_firsts(units: _Units, room: int, separator: int, cross_documents: bool) -> np.ndarray:
    """The first unit of each row, [rows]; whether the last row is full is not known yet."""
    # Count a separator at every change of document: then a row fits if its end is within `room` of its start.
    shift = separator * units.documents
    ends = np.searchsorted(units.stops + shift, units.starts + shift + room, side="right")
    if not cross_documents:
        ends = np.minimum(ends, np.searchsorted(units.documents, units.documents, side="right"))
    following = ends.tolist()
    firsts, unit = [], 0
    while unit < len(following):
        firsts.append(unit)
        unit = following[unit]
    return np.array(firsts, np.int64)


def _spans(units: _Units, firsts: np.ndarray) -> Spans:
    begins = np.zeros(units.starts.size, bool)
    begins[firsts] = True
    begins[1:] |= units.documents[1:] != units.documents[:-1]
    pieces = np.flatnonzero(begins)
    lasts = np.append(pieces[1:], units.starts.size) - 1
    starts = units.starts[pieces]
    counts = np.diff(np.append(np.searchsorted(pieces, firsts), pieces.size))
    return Spans(counts, starts, units.stops[lasts] - starts, units.documents[pieces])
