"""SENTENCE-PAIR (Liu et al. 2019, section 4.2): pairs of single sentences.

`[CLS] A [SEP] B [SEP]`: two sentences that follow each other in a document, each in one pair; the
last of an odd number is paired with the one before it, which then stands in two. A sentence longer
than half a row is cut into parts that count as sentences. Documents of one sentence are left out.
Labels as in segment_pair. Most of a row is padding: take short rows and large batches.
"""

import functools
from collections.abc import Iterator

import numpy as np

from data_pipeline.rows import Offsets, RowFormat, Spans
from data_pipeline.rows._labels import Label, labelled
from data_pipeline.rows._units import NO_UNITS, Units, sentences
from data_pipeline.rows.segment_pair import pairs


def build(length: int, isolate: bool, *, label: Label = "nsp") -> RowFormat:
    """Pairs of `length` tokens together. The parts of a pair always attend to each other, whatever `isolate`."""
    del isolate
    return labelled(functools.partial(_pairs, room=(length - 3) // 2), label)


def _pairs(shard: Offsets, room: int) -> Iterator[Spans]:
    rest = NO_UNITS
    for units in sentences(shard, room):
        rest = rest.then(units)
        if not rest.starts.size:
            continue
        # The last document may continue in the next block: keep its last two or three sentences.
        last = int(np.searchsorted(rest.documents, rest.documents[-1]))
        done = last + max(0, (len(rest.starts) - last - 2) // 2 * 2)
        yield from _neighbours(rest.part(None, done))
        rest = rest.part(done, None)
    yield from _neighbours(rest)


def _neighbours(units: Units) -> Iterator[Spans]:
    """Each document's first and second unit, third and fourth, …, and its last two."""
    _, firsts, counts = np.unique(units.documents, return_index=True, return_counts=True)
    paired = np.where(counts > 1, (counts + 1) // 2, 0)
    if not paired.any():
        return
    number = np.arange(paired.sum()) - np.repeat(np.cumsum(paired) - paired, paired)
    a = np.repeat(firsts, paired) + np.minimum(2 * number, np.repeat(counts - 2, paired))
    yield pairs(units.starts[a], units.stops[a], units.stops[a + 1], units.documents[a])
