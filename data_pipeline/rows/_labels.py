"""Pairs of pieces with a label that is drawn anew each epoch: the next sentence or not, in order or not, how far."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from data_pipeline.batches.pieces import Pieces, RowTable, TableReader
from data_pipeline.errors import DataError
from data_pipeline.rows import Arranged, RowFormat, Spans
from data_pipeline.store.memory import release

Label = Literal["nsp", "sop", "distance"]
# Of so many neighbouring rows, the one whose second part is the nearest in length is taken.
_ALIKE_AMONG = 1024  # in the same document
_ALIKE_AMONG_PER_TOKEN = 16  # in other documents, times a row's length, so that nearly every length is among them


def labelled(spans: Callable[[Any], Iterator[Spans]], label: Label) -> RowFormat:
    """The format of pairs that are labelled so."""
    if label == "distance":
        return RowFormat(spans, "row", one_text=True, arrange=sentence_distance, check=check_documents)
    if label == "sop":
        return RowFormat(spans, "row", one_text=True, arrange=sentence_order)
    return RowFormat(spans, "row", one_text=True, arrange=next_sentence, check=check_documents)


def sentence_order(reader: TableReader, rows: np.ndarray, draws: np.ndarray) -> Arranged:
    """Half of the pairs are swapped (label 1)."""
    pieces, labels, changed = _drawn(reader, rows, draws)
    starts, lengths = pieces.starts.reshape(-1, 2), pieces.lengths.reshape(-1, 2)
    starts[changed], lengths[changed] = starts[changed, ::-1], lengths[changed, ::-1]
    return _arranged(pieces, starts, lengths, labels)


def next_sentence(reader: TableReader, rows: np.ndarray, draws: np.ndarray) -> Arranged:
    """Half of the pairs get the second part of a row of another document (label 1), as long as their own."""
    pieces, labels, changed = _drawn(reader, rows, draws)
    starts, lengths = pieces.starts.reshape(-1, 2), pieces.lengths.reshape(-1, 2)
    room = reader.table.length - 3 - lengths[changed, 0]
    chosen = labels == 1
    other = reader.pieces(_alike(reader, rows[chosen], draws[chosen] >> np.uint64(1), lengths[changed, 1], room))
    starts[changed, 1] = other.starts[1::2]
    lengths[changed, 1] = np.minimum(other.lengths[1::2], room)
    return _arranged(pieces, starts, lengths, labels)


def sentence_distance(reader: TableReader, rows: np.ndarray, draws: np.ndarray) -> Arranged:
    """A third of the pairs stay (label 0); others get the second part of another row, the nearest in length of some.

    Of the same document, where it does not end at the first part or begin there (1), or of another one (2). A document
    that has no such row has its pairs labelled 0 or 2.
    """
    real = rows >= 0
    pieces, own, drawn = reader.pieces(rows), rows[real], draws[real]
    labels, rest = (drawn % np.uint64(3)).astype(np.int32), drawn // np.uint64(3)
    starts, lengths = pieces.starts.reshape(-1, 2), pieces.lengths.reshape(-1, 2)
    within, found = _in_document(reader, own, rest >> np.uint64(1), lengths[:, 1])
    labels = np.where((labels == 1) & ~found, 2 * (rest & np.uint64(1)).astype(np.int32), labels)
    room = reader.table.length - 3 - lengths[:, 0]
    far = labels == 2
    of_other = _alike(reader, own[far], rest[far] >> np.uint64(1), lengths[far, 1], room[far])
    for chosen, others in ((labels == 1, within[labels == 1]), (far, of_other)):
        other = reader.pieces(others)
        starts[chosen, 1] = other.starts[1::2]
        lengths[chosen, 1] = np.minimum(other.lengths[1::2], room[chosen])
    every = np.zeros(len(rows), np.int32)
    every[real] = labels
    return Arranged(Pieces(pieces.counts, starts.reshape(-1), lengths.reshape(-1)), {"distance_label": every})


def _in_document(
    reader: TableReader, rows: np.ndarray, draws: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A row for each row, of the same document but neither it nor the one before, and whether there is any.

    The second part of the row before ends where a row's first part begins. Of some that follow one drawn from all, the
    one whose second part is the nearest in length.
    """
    documents = reader.table.documents
    first = np.searchsorted(documents, documents[rows], side="left")
    last = np.searchsorted(documents, documents[rows], side="right")
    if not reader.fits:
        release(documents)
    left_out = np.maximum(first, rows - 1)
    excluded = rows - left_out + 1
    count = last - first - excluded
    among = np.minimum(np.maximum(count, 1), _ALIKE_AMONG)
    begin = (draws % np.maximum(count, 1).astype(np.uint64)).astype(np.int64)
    near = (begin[:, None] + np.arange(among.max(initial=1))) % np.maximum(count, 1)[:, None] + first[:, None]
    near = np.where(near >= left_out[:, None], near + excluded[:, None], near)
    near = np.minimum(near, len(documents) - 1)
    flat = near.reshape(-1)
    found = reader.look_up(reader.table.lengths, reader.look_up(reader.table.rows, flat) + 1).reshape(near.shape)
    best = np.abs(found - lengths[:, None]).argmin(axis=1)
    return near[np.arange(len(rows)), best], count > 0


def check_documents(table: RowTable) -> None:
    """Raises DataError where there is no other document to take a second part from."""
    if table.documents[0] == table.documents[-1]:
        raise DataError(
            'next-sentence and distance pairs need rows of two documents at least; give more text or label="sop"'
        )


def _drawn(reader: TableReader, rows: np.ndarray, draws: np.ndarray) -> tuple[Pieces, np.ndarray, np.ndarray]:
    """The pairs of rows [B], labels int32 [B], and which of the rows that are not padding have label 1."""
    real = rows >= 0
    labels = np.where(real, draws & np.uint64(1), 0).astype(np.int32)
    return reader.pieces(rows), labels, labels[real] == 1


def _arranged(pieces: Pieces, starts: np.ndarray, lengths: np.ndarray, labels: np.ndarray) -> Arranged:
    return Arranged(Pieces(pieces.counts, starts.reshape(-1), lengths.reshape(-1)), {"pair_label": labels})


def _alike(
    reader: TableReader, rows: np.ndarray, draws: np.ndarray, lengths: np.ndarray, room: np.ndarray
) -> np.ndarray:
    """A row for each row, of another document, whose second part is as long as the one that it replaces.

    The nearest in length of some rows that follow one drawn from all; one that fits into `room` where there is one.
    Without this the label could be told from the lengths alone.
    """
    table = reader.table
    near = _of_other_documents(reader, rows, draws, _ALIKE_AMONG_PER_TOKEN * table.length)
    found = reader.look_up(table.lengths, reader.look_up(table.rows, near.reshape(-1)) + 1).reshape(near.shape)
    cost = np.abs(found - lengths[:, None]) + table.length * (found > room[:, None])
    return near[np.arange(len(rows)), cost.argmin(axis=1)]


def _of_other_documents(reader: TableReader, rows: np.ndarray, draws: np.ndarray, most: int) -> np.ndarray:
    """int64 [B, n ≤ most] for rows [B]: neighbouring rows of all other documents, from one drawn on."""
    documents = reader.table.documents
    first = np.searchsorted(documents, documents[rows], side="left")
    last = np.searchsorted(documents, documents[rows], side="right")
    if not reader.fits:
        release(documents)
    others = len(documents) - (last - first)
    begin = (draws % others.astype(np.uint64)).astype(np.int64)
    following = np.arange(min(most, others.max(initial=1)))
    return (last[:, None] + (begin[:, None] + following) % others[:, None]) % len(documents)
