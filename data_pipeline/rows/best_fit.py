"""Best-fit packing of whole documents (Ding et al. 2024, "Fewer truncations improve language modeling").

Documents that fit stay whole, wherever they stand in the store; longer ones are cut into pieces that
fill a row, and a rest. Rests and short documents fill rows together: from the longest to the
shortest, each goes into the fullest row that still has room for it. Every token stands in exactly
one row, and there is hardly any padding. Made for isolated documents, whose order does not matter.

Only lengths count, so the documents of one length are placed together (Krell et al. 2021, "Efficient
sequence packing without cross-contamination").
"""

import functools
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from data_pipeline.rows import Offsets, RowFormat, Spans
from data_pipeline.store.memory import release

_BLOCK = 1 << 17  # documents packed together


def build(length: int, isolate: bool) -> RowFormat:
    """Rows of `length` tokens."""
    separator = 2 if isolate else 1
    spans = functools.partial(_packed, room=length - 2, separator=separator)
    return RowFormat(spans, "piece" if isolate else "row")


def _packed(shard: Offsets, room: int, separator: int) -> Iterator[Spans]:
    documents = len(shard.document_offsets) - 1
    for first in range(0, documents, _BLOCK):
        last = min(first + _BLOCK, documents)
        bounds = shard.sentence_offsets[shard.document_offsets[first : last + 1]].astype(np.int64)
        release(shard.sentence_offsets, shard.document_offsets)
        lengths = np.diff(bounds)
        parts = -(-lengths // room)
        if not parts.any():
            continue
        document = np.repeat(np.arange(last - first), parts)
        start = bounds[document] + room * (np.arange(len(document)) - np.repeat(np.cumsum(parts) - parts, parts))
        size = np.minimum(room, bounds[document + 1] - start)
        row = best_fit(size + separator, room + separator)
        order = np.argsort(row, kind="stable")
        yield Spans(np.bincount(row), start[order], size[order], first + document[order])


def best_fit(sizes: np.ndarray, capacity: int) -> np.ndarray:
    """Best-fit decreasing: the row of each item, int64 [n].

    Args:
      sizes: int64 [n], each from 1 to `capacity`.
    """
    row = np.empty(len(sizes), np.int64)
    order = np.argsort(-sizes, kind="stable")
    counts = np.bincount(sizes, minlength=capacity + 1)
    free: dict[int, list[np.ndarray]] = defaultdict(list)  # the rows that have so much room left
    has = np.zeros(capacity + 1, bool)  # whether there are such rows
    rows = placed = 0

    def put(chosen: np.ndarray, room: int, each: int) -> None:
        """Puts the next items, `each` into every chosen row; these rows have that much room afterwards."""
        nonlocal placed
        items = order[placed : placed + each * len(chosen)]
        row[items] = np.repeat(chosen, each)
        placed += len(items)
        if len(chosen):
            free[room].append(chosen)
            has[room] = True

    for size in np.unique(sizes)[::-1].tolist():
        end = placed + int(counts[size])
        while placed < end:
            room = size + int(np.argmax(has[size:]))
            if has[room]:
                chosen = free[room].pop()
                has[room] = bool(free[room])
            else:  # no row has room: open as many as the items of this size need by themselves
                room = capacity
                chosen = np.arange(rows, rows - (placed - end) // (capacity // size))
                rows += len(chosen)
            # A row that took an item is fuller than others of its kind, so it takes more while they fit.
            each = room // size
            whole = min(len(chosen), (end - placed) // each)
            put(chosen[:whole], room - each * size, each)
            last = min(end - placed, each) if whole < len(chosen) else 0
            put(chosen[whole : whole + (last > 0)], room - last * size, last)
            put(chosen[whole + (last > 0) :], room, 0)
    return row
