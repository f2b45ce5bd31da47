"""Row formats: how the sentences of a store fill rows of a fixed length. One file per format.

A format sees only the offsets of sentences and documents, never the tokens, and cuts a shard into
*pieces*: runs of tokens of one document that lie next to each other in the shard. One or more
pieces make a row:

    opening "row"      [CLS] piece [SEP] piece [SEP] … [PAD]…     (RoBERTa: one separator between documents)
    opening "piece"    [CLS] piece [SEP] [CLS] piece [SEP] … [PAD]…

The second is for isolated documents: every piece looks the way a text looks at fine-tuning, and has a
[CLS] of its own.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from data_pipeline.batches.pieces import Pieces, RowTable, TableReader


class Offsets(Protocol):
    """What a format may know of a shard of n tokens, s sentences and d documents."""

    @property
    def sentence_offsets(self) -> np.ndarray: ...  # [s+1], into tokens
    @property
    def document_offsets(self) -> np.ndarray: ...  # [d+1], into sentences


class Spans(NamedTuple):
    """R consecutive rows of a shard, at least one, made of P pieces."""

    counts: np.ndarray  # int64 [R], pieces in each row, at least 1
    starts: np.ndarray  # int64 [P], the first token of each piece, counted within the shard
    lengths: np.ndarray  # int64 [P], tokens of each piece, specials not counted
    documents: np.ndarray  # int64 [P], the document of each piece, counted within the shard


class Arranged(NamedTuple):
    """Rows as a format arranges them when they are read."""

    pieces: Pieces
    fields: Mapping[str, np.ndarray]  # what it adds to the batch, such as labels: [B, …]


Arrange = Callable[[TableReader, np.ndarray, np.ndarray], Arranged]  # reader, rows int64 [B], draws uint64 [B]


@dataclasses.dataclass(frozen=True)
class RowFormat:
    """What a file of this folder builds: `build(length, isolate, *, options) -> RowFormat`."""

    spans: Callable[[Any], Iterator[Spans]]  # the rows of a shard (an `Offsets`), some at a time, in order
    opening: Literal["row", "piece"]  # what begins with [CLS]
    one_text: bool = False  # the pieces of a row see each other, and token types count them
    arrange: Arrange | None = None  # what is drawn anew each epoch, with labels; None: rows are as in the index
    check: Callable[[RowTable], None] = lambda table: None  # raises DataError where rows cannot be arranged


def specials(counts: np.ndarray, opening: str) -> np.ndarray:
    """Number of [CLS] and [SEP] in rows of this many pieces."""
    return counts * 2 if opening == "piece" else counts + 1
