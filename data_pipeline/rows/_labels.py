"""Pairs of pieces with a label that is drawn anew each epoch: the next sentence or not, in order or not."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.memory import release
from data_pipeline.pieces import IndexReader, Pieces
from data_pipeline.row_index import RowIndex
from data_pipeline.rows import Arranged, RowFormat, Spans

_ALIKE_AMONG = 1024  # rows next to each other, of which the second part of the nearest length is taken


def labelled(spans: Callable[[Any], Iterator[Spans]], label: Literal["nsp", "sop"]) -> RowFormat:
    """The format of pairs that are labelled so."""
    if label == "sop":
        return RowFormat(spans, "row", one_text=True, arrange=sentence_order)
    return RowFormat(spans, "row", one_text=True, arrange=next_sentence, check=check_documents)


def sentence_order(reader: IndexReader, rows: np.ndarray, draws: np.ndarray) -> Arranged:
    """Half of the pairs change places (label 1)."""
    pieces, labels, changed = _drawn(reader, rows, draws)
    starts, lengths = pieces.starts.reshape(-1, 2), pieces.lengths.reshape(-1, 2)
    starts[changed], lengths[changed] = starts[changed, ::-1], lengths[changed, ::-1]
    return _arranged(pieces, starts, lengths, labels)


def next_sentence(reader: IndexReader, rows: np.ndarray, draws: np.ndarray) -> Arranged:
    """Half of the pairs get the second part of a row of another document (label 1), as long as their own."""
    pieces, labels, changed = _drawn(reader, rows, draws)
    starts, lengths = pieces.starts.reshape(-1, 2), pieces.lengths.reshape(-1, 2)
    room = reader.index.length - 3 - lengths[changed, 0]
    chosen = labels == 1
    other = reader.pieces(_alike(reader, rows[chosen], draws[chosen] >> np.uint64(1), lengths[changed, 1], room))
    starts[changed, 1] = other.starts[1::2]
    lengths[changed, 1] = np.minimum(other.lengths[1::2], room)
    return _arranged(pieces, starts, lengths, labels)


def check_documents(index: RowIndex) -> None:
    """Raises DataError where there is no other document to take a second part from."""
    if index.documents[0] == index.documents[-1]:
        raise DataError('next-sentence pairs need rows of two documents at least; give more text or label="sop"')


def _drawn(reader: IndexReader, rows: np.ndarray, draws: np.ndarray) -> tuple[Pieces, np.ndarray, np.ndarray]:
    """The pairs of rows [B], labels int32 [B], and which of the rows that are not padding have label 1."""
    real = rows >= 0
    labels = np.where(real, draws & np.uint64(1), 0).astype(np.int32)
    return reader.pieces(rows), labels, labels[real] == 1


def _arranged(pieces: Pieces, starts: np.ndarray, lengths: np.ndarray, labels: np.ndarray) -> Arranged:
    return Arranged(Pieces(pieces.counts, starts.reshape(-1), lengths.reshape(-1)), {"pair_label": labels})


def _alike(
    reader: IndexReader, rows: np.ndarray, draws: np.ndarray, lengths: np.ndarray, room: np.ndarray
) -> np.ndarray:
    """A row for each row, of another document, whose second part is as long as the one that it replaces.

    The nearest in length of some rows that follow one drawn from all; one that fits into `room` where there is one.
    Without this the label could be told from the lengths alone.
    """
    index = reader.index
    others = len(index.documents)
    near = _other_documents(reader, rows, draws)[:, None] + np.arange(min(_ALIKE_AMONG, others))
    near %= others
    flat = near.reshape(-1)
    found = reader.look_up(index.lengths, reader.look_up(index.rows, flat) + 1).reshape(near.shape)
    documents = reader.look_up(index.documents, flat).reshape(near.shape)
    own = documents == reader.look_up(index.documents, rows)[:, None]
    cost = np.abs(found - lengths[:, None]) + index.length * (found > room[:, None]) + 4 * index.length * own
    return near[np.arange(len(rows)), cost.argmin(axis=1)]


def _other_documents(reader: IndexReader, rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """A row for each row, drawn from those of all other documents."""
    documents = reader.index.documents
    first = np.searchsorted(documents, documents[rows], side="left")
    last = np.searchsorted(documents, documents[rows], side="right")
    if not reader.fits:
        release(documents)
    others = (len(documents) - (last - first)).astype(np.uint64)
    return (last + (draws % others).astype(np.int64)) % len(documents)
