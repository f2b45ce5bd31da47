"""SEGMENT-PAIR (Devlin et al. 2018, section 3.1; Liu et al. 2019, section 4.2): pairs of runs of sentences.

`[CLS] A [SEP] B [SEP]`, A and B together filled with whole sentences of one document. Where A ends is
drawn among the row's sentences, once for all epochs; a row of a single sentence is cut in its middle.
What becomes of the pair is drawn anew each epoch: `pair_label` is 0 for half of the rows, left as they
are, and 1 for the others:

    label="nsp"   next sentence (BERT): B is the second part of a row of another document, as long as the one that it
                  replaces, so that lengths do not tell the label
    label="sop"   sentence order (Lan et al. 2019, ALBERT, section 3.1): A and B are swapped

`label="distance"` (ERNIE 2.0, section 4.2.2) gives `distance_label` instead, for a third of the rows each: 0 as they
are, 1 B of another row of the document, no neighbour of A, 2 B of another document.

A row of a single token is left out: it has no second part.
"""

import functools
from collections.abc import Iterator

import numpy as np

from data_pipeline.batches.permutation import hashed
from data_pipeline.rows import Offsets, RowFormat, Spans
from data_pipeline.rows._greedy import greedy_rows
from data_pipeline.rows._labels import Label, labelled


def build(length: int, isolate: bool, *, label: Label = "nsp") -> RowFormat:
    """Pairs of `length` tokens together. The parts of a pair always attend to each other, whatever `isolate`."""
    del isolate
    return labelled(functools.partial(_pairs, room=length - 3), label)


def _pairs(shard: Offsets, room: int) -> Iterator[Spans]:
    for units, firsts in greedy_rows(shard, room, separator=0, cross_documents=False):
        sentences = np.diff(np.append(firsts, len(units.starts)))
        starts, stops = units.starts[firsts], units.stops[firsts + sentences - 1]
        boundaries = np.maximum(sentences - 1, 1).astype(np.uint64)
        drawn = units.stops[firsts + (hashed(starts) % boundaries).astype(np.int64)]
        middles = np.where(sentences > 1, drawn, (starts + stops) // 2)
        parted = np.flatnonzero((starts < middles) & (middles < stops))
        if parted.size:
            yield pairs(starts[parted], middles[parted], stops[parted], units.documents[firsts][parted])


def pairs(starts: np.ndarray, middles: np.ndarray, stops: np.ndarray, documents: np.ndarray) -> Spans:
    """Rows of two pieces that follow each other: starts … middles-1 and middles … stops-1; all int64 [R]."""
    begins = np.stack([starts, middles], axis=1).reshape(-1)
    ends = np.stack([middles, stops], axis=1).reshape(-1)
    return Spans(np.full(len(starts), 2), begins, ends - begins, np.repeat(documents, 2))
