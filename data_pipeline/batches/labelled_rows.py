"""Rows of labelled examples: several share a row, isolated as documents are, each read at its own [CLS].

Which lengths stand together in a row is fixed once, by best fit; which examples of these lengths they are is drawn anew
in each epoch, as is the order of the rows. So every epoch has the same number of rows, there is hardly any padding, and
a batch is a pure function of (examples, length, seed, step).

An example of C candidates takes C rows side by side, a stack: each row of a stack holds one candidate of each of the
stack's examples, and all candidates of an example begin at the same position. So each candidate can fill a row, and a
loss over an example's candidates reads one stack.
"""

import functools
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from data_pipeline.batches.assembly import Batch
from data_pipeline.batches.permutation import hashed, permute
from data_pipeline.batches.pieces import before
from data_pipeline.errors import DataError

MOST_IN_A_ROW = 32  # examples, so that what a task computes for each has a fixed and small size
NONE = -1  # the number of an example that is not there


class Encoded(NamedTuple):
    """n labelled examples as tokens, one after the other: T of them, special tokens included.

    An example of candidates has C sequences of tokens, some of which may be empty; others have one.
    """

    tokens: np.ndarray  # int32 [T]
    token_types: np.ndarray  # int32 [T]
    offsets: np.ndarray  # int64 [n·C+1], where each sequence begins
    records: np.ndarray  # int64 [n], the record of each: windows of a long text are examples of one record
    per_example: Mapping[str, np.ndarray] = {}  # [n, …], such as labels
    per_token: Mapping[str, np.ndarray] = {}  # [T], such as tags
    aside: Mapping[str, Any] = {}  # what reading the answers needs and the device does not
    candidates: int = 0  # C, of every example; 0 for one sequence an example, in batches without an axis of them

    @property
    def lengths(self) -> np.ndarray:
        """int64 [n], of the longest sequence of each example."""
        return np.diff(self.offsets).reshape(-1, self.stacked).max(1)

    @property
    def stacked(self) -> int:
        """C, at least 1."""
        return max(1, self.candidates)


class LabelledRows:
    """`pipeline.Examples` of labelled text.

    Args:
      encoded: the examples, none longer than a row.
      length: L.
      pad: id of the padding.
      seed: of the order; None for that of the examples, in which each stands once.
      packed: False for one example a row, or a stack.

    Raises:
      DataError: no example, or one longer than a row.
    """

    def __init__(self, encoded: Encoded, length: int, pad: int, *, seed: int | None, packed: bool = True):
        lengths = encoded.lengths
        if not len(lengths):
            raise DataError("there is no labelled example; give some")
        if lengths.max() > length:
            raise DataError(f"a labelled example has {lengths.max()} tokens, more than a row of {length}")
        self.length = length
        self.encoded = encoded
        self._pad, self._seed = pad, seed
        # The lengths in each row: slots, filled by examples.
        self._counts, self._slots = best_fit(lengths, length, MOST_IN_A_ROW if packed else 1)
        self._firsts = before(self._counts)
        self._by_length = np.argsort(self._slots, kind="stable")
        self.rows = len(self._counts)
        self.most = int(self._counts.max())  # E
        self._filled = functools.lru_cache(maxsize=2)(self._fill)

    @functools.cached_property
    def fields(self) -> Collection[str]:
        return self.batch(0, 1).keys()

    def batch(self, first: int, size: int) -> Batch:
        """Rows `first` to `first + size - 1` of the endless stream.

        Returns:
          tokens, segments, positions, token_types and what there is for each token: [size, L], of candidates
          [size, C, L]; `places` int32 [size, E] of each example's first token, `examples` int32 [size, E], its number
          or -1 for none, `weights` float32 [size, E], 0 for none, and what there is for each example: [size, E, …].
        """
        index = np.arange(first, first + size)
        epochs = index // self.rows
        if self._seed is None:
            return self.read(np.where(epochs == 0, index, NONE), epochs)
        return self.read(permute(index % self.rows, self.rows, hashed(self._seed, epochs)), epochs)

    def read(self, rows: np.ndarray, epochs: np.ndarray) -> Batch:
        """The batch of rows int64 [B] of epochs int64 [B]; row -1 is padding."""
        counts = np.where(rows < 0, 0, self._counts[rows])
        row = np.repeat(np.arange(len(rows)), counts)
        number = np.arange(len(row)) - np.repeat(before(counts), counts)  # of the example in its row
        slots = self._firsts[rows[row]] + number
        examples = np.empty(len(row), np.int64)
        for epoch in np.unique(epochs):
            of_epoch = epochs[row] == epoch
            examples[of_epoch] = self._filled(int(epoch))[slots[of_epoch]]
        return self._assemble(len(rows), row, number, examples)

    def _fill(self, epoch: int) -> np.ndarray:
        """int64 [n]: the example in each slot."""
        lengths = self.encoded.lengths
        numbers = np.arange(len(lengths))
        order = np.lexsort((numbers if self._seed is None else hashed(self._seed, epoch, numbers, 1), lengths))
        filled = np.empty(len(lengths), np.int64)
        filled[self._by_length] = order
        return filled

    def _assemble(self, rows: int, row: np.ndarray, number: np.ndarray, examples: np.ndarray) -> Batch:
        encoded, length, stacked = self.encoded, self.length, self.encoded.stacked
        starts = before(encoded.lengths[examples])
        places = starts - starts[np.searchsorted(row, row)]  # in the row
        of_each = lambda values: (values[:, None] * stacked + np.arange(stacked)).ravel()  # row, example → sequences
        sequences, rows_of = of_each(examples), of_each(row)
        lengths = np.diff(encoded.offsets)[sequences]
        inside = np.arange(lengths.sum()) - np.repeat(before(lengths), lengths)
        to = np.repeat(rows_of * length + np.repeat(places, stacked), lengths) + inside
        taken = np.repeat(encoded.offsets[sequences], lengths) + inside
        numbers = np.repeat(np.repeat(number + 1, stacked), lengths)
        shape = (rows, stacked, length) if encoded.candidates else (rows, length)

        def spread(values: np.ndarray, empty: int = 0) -> np.ndarray:
            out = np.full(rows * stacked * length, empty, values.dtype)
            out[to] = values
            return out.reshape(shape)

        def each(values: np.ndarray, empty: int = 0) -> np.ndarray:
            out = np.full((rows, self.most, *values.shape[1:]), empty, values.dtype)
            out[row, number] = values
            return out

        return {
            "tokens": spread(encoded.tokens[taken], self._pad),
            "segments": spread(numbers.astype(np.int32)),
            "positions": spread(inside.astype(np.int32)),
            "token_types": spread(encoded.token_types[taken]),
            **{name: spread(values[taken]) for name, values in encoded.per_token.items()},
            "places": each(places.astype(np.int32)),
            "examples": each(examples.astype(np.int32), NONE),
            "weights": each(np.ones(len(examples), np.float32)),
            **{name: each(values[examples]) for name, values in encoded.per_example.items()},
        }


def best_fit(lengths: np.ndarray, room: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Packs lengths into rows of `room` tokens, at most `most` in each: the longest first, into the fullest row.

    Returns:
      counts int64 [R] in each row, and the lengths int64 [n] in them, row by row.
    """
    of_room: dict[int, list[list[int]]] = {}  # rows that are open, by the room that is left
    open_rooms = 0  # bit r is set if a row with r free tokens is open
    rows: list[list[int]] = []
    for length in np.sort(lengths)[::-1].tolist():
        fitting = open_rooms >> length
        if fitting:
            left = length + (fitting & -fitting).bit_length() - 1
            row = of_room[left].pop()
            if not of_room[left]:
                open_rooms &= ~(1 << left)
        else:
            left, row = room, []
            rows.append(row)
        row.append(length)
        left -= length
        if len(row) < most and left > 0:
            of_room.setdefault(left, []).append(row)
            open_rooms |= 1 << left
    return np.array([len(row) for row in rows]), np.array([length for row in rows for length in row])
