"""Greedy packing of whole sentences: a row takes sentences in order until the next does not fit.

Where a row ends depends only on where it begins, so the end of the row that *would* begin at each
sentence is found for many sentences at once, and then the rows are a walk along these ends.
"""

from collections.abc import Iterator

import numpy as np

from data_pipeline.rows import Offsets, Spans
from data_pipeline.rows._units import NO_UNITS, Units, sentences


def rows_of_sentences(shard: Offsets, room: int, separator: int, cross_documents: bool) -> Iterator[Spans]:
    """The rows of a shard, one piece for each document in a row; arguments as of `greedy_rows`."""
    for units, firsts in greedy_rows(shard, room, separator, cross_documents):
        yield _spans(units, firsts)


def greedy_rows(shard: Offsets, room: int, separator: int, cross_documents: bool) -> Iterator[tuple[Units, np.ndarray]]:
    """Packs the sentences of a shard into rows.

    Args:
      shard: the offsets of its sentences and documents.
      room: tokens that fit into a row of one piece (the row's length less its specials).
      separator: what every further document in a row costs besides its tokens.
      cross_documents: whether a row continues with the next document.

    Yields:
      The sentences of some rows, and the first sentence of each row, int64 [R].
    """
    rest = NO_UNITS
    for units in sentences(shard, room):
        rest = rest.then(units)
        firsts = _row_firsts(rest, room, separator, cross_documents)
        if len(firsts) > 1:  # the last row may still grow with the sentences of the next block
            yield rest.part(None, firsts[-1]), firsts[:-1]
            rest = rest.part(firsts[-1], None)
    if rest.starts.size:
        yield rest, np.zeros(1, np.int64)


def _row_firsts(units: Units, room: int, separator: int, cross_documents: bool) -> np.ndarray:
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


def _spans(units: Units, firsts: np.ndarray) -> Spans:
    begins = np.zeros(units.starts.size, bool)
    begins[firsts] = True
    begins[1:] |= units.documents[1:] != units.documents[:-1]
    pieces = np.flatnonzero(begins)
    lasts = np.append(pieces[1:], units.starts.size) - 1
    starts = units.starts[pieces]
    counts = np.diff(np.append(np.searchsorted(pieces, firsts), pieces.size))
    return Spans(counts, starts, units.stops[lasts] - starts, units.documents[pieces])
