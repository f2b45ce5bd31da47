"""From row numbers to arrays: reads the tokens of many rows at once and sets the special tokens."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.memory import read_randomly, release
from data_pipeline.row_index import RowIndex
from data_pipeline.store import Split

Batch = dict[str, np.ndarray]

_KEPT = 3 << 25  # bytes of mapped files that may stay in this process's memory
_ALIKE_AMONG = 1024  # rows next to each other, of which the second part of the nearest length is taken
_TOUCHES = 64  # random reads, where more is mapped, before pages are given back; each may map a MB around it


class Specials(NamedTuple):
    """Ids of the tokens that rows add to the text."""

    pad: int
    cls: int
    sep: int


class Pieces(NamedTuple):
    """The P pieces of B rows, row by row."""

    counts: np.ndarray  # int64 [B], pieces in each row; 0 makes a row of padding
    starts: np.ndarray  # int64 [P], first token, counted within the split
    lengths: np.ndarray  # int64 [P]


class Reader:
    """Reads the rows of a split."""

    def __init__(self, split: Split, index: RowIndex, specials: Specials):
        self.index = index
        self._shards = split.shards
        self._specials = specials
        self._firsts = np.cumsum([0, *(shard.facts.tokens for shard in split.shards)])
        self._mapped: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._fits = 3 * split.tokens < _KEPT  # tokens, word starts and index stay within bounds
        if not self._fits:
            read_randomly(index.rows, index.starts, index.lengths, index.documents)
        if index.format.pair == "nsp" and index.documents[0] == index.documents[-1]:
            raise DataError('next-sentence pairs need rows of two documents at least; give more text or label="sop"')

    def read(self, rows: np.ndarray, draws: Callable[[], np.ndarray]) -> Batch:
        """The batch of these rows, as `data_pipeline.pipeline.batches` describes it.

        Args:
          rows: int64 [B]; a negative number stands for a row of padding.
          draws: gives uint64 [B], the randomness that a pair format takes.
        """
        if not self.index.format.pair:
            return self._assemble(self._pieces(rows))
        pieces, labels = self._pairs(rows, draws())
        return self._assemble(pieces) | {"pair_label": labels}

    def _pieces(self, rows: np.ndarray) -> Pieces:
        index = self.index
        real = np.maximum(rows, 0)
        firsts = self._look_up(index.rows, real)
        counts = np.where(rows < 0, 0, self._look_up(index.rows, real + 1) - firsts)
        ids = np.repeat(firsts - _before(counts), counts) + np.arange(counts.sum())
        return Pieces(counts, self._look_up(index.starts, ids), self._look_up(index.lengths, ids))

    def _look_up(self, array: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Entries of one of the index's arrays, as int64."""
        if self._fits:
            return array[places].astype(np.int64)
        found = np.empty(len(places), np.int64)
        for first in range(0, len(places), _TOUCHES):
            found[first : first + _TOUCHES] = array[places[first : first + _TOUCHES]]
            release(array)
        return found

    def _pairs(self, rows: np.ndarray, draws: np.ndarray) -> tuple[Pieces, np.ndarray]:
        """The two pieces of each row, half of them changed, and the labels int32 [B] that tell which."""
        pieces = self._pieces(rows)
        starts, lengths = pieces.starts.reshape(-1, 2), pieces.lengths.reshape(-1, 2)
        real = rows >= 0
        labels = np.where(real, draws & np.uint64(1), 0).astype(np.int32)
        changed = labels[real] == 1
        if self.index.format.pair == "sop":
            starts[changed], lengths[changed] = starts[changed, ::-1], lengths[changed, ::-1]
        else:
            room = self.index.length - 3 - lengths[changed, 0]
            alike = self._alike(rows[labels == 1], draws[labels == 1] >> np.uint64(1), lengths[changed, 1], room)
            other = self._pieces(alike)
            starts[changed, 1] = other.starts[1::2]
            lengths[changed, 1] = np.minimum(other.lengths[1::2], room)
        return Pieces(pieces.counts, starts.reshape(-1), lengths.reshape(-1)), labels

    def _alike(self, rows: np.ndarray, draws: np.ndarray, lengths: np.ndarray, room: np.ndarray) -> np.ndarray:
        """A row for each row, of another document, whose second part is as long as the one that it replaces.

        The nearest in length of some rows that follow one drawn from all; one that fits into `room` where there is one.
        Without this the label could be told from the lengths alone.
        """
        index = self.index
        others = len(index.documents)
        near = self._other_documents(rows, draws)[:, None] + np.arange(min(_ALIKE_AMONG, others))
        near %= others
        flat = near.reshape(-1)
        found = self._look_up(index.lengths, self._look_up(index.rows, flat) + 1).reshape(near.shape)
        own = self._look_up(index.documents, flat).reshape(near.shape) == self._look_up(index.documents, rows)[:, None]
        cost = np.abs(found - lengths[:, None]) + index.length * (found > room[:, None]) + 4 * index.length * own
        return near[np.arange(len(rows)), cost.argmin(axis=1)]

    def _other_documents(self, rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """A row for each row, drawn from those of all other documents."""
        documents = self.index.documents
        first = np.searchsorted(documents, documents[rows], side="left")
        last = np.searchsorted(documents, documents[rows], side="right")
        if not self._fits:
            release(documents)
        others = (len(documents) - (last - first)).astype(np.uint64)
        return (last + (draws % others).astype(np.int64)) % len(documents)

    def _assemble(self, pieces: Pieces) -> Batch:
        length, paired, restarts = self.index.length, bool(self.index.format.pair), self.index.format.opening == "piece"
        rows = len(pieces.counts)
        row = np.repeat(np.arange(rows), pieces.counts)
        number = np.arange(len(row)) - np.repeat(_before(pieces.counts), pieces.counts)  # of the piece in its row
        opens = np.ones(len(row), np.int64) if restarts else (number == 0).astype(np.int64)
        widths = opens + pieces.lengths + 1  # [CLS] where it opens, text, [SEP]

        # Every row is a run for each piece and one of padding; all runs together are the B * L places.
        runs = np.zeros(len(row) + rows, np.int64)
        of_piece = np.arange(len(row)) + row
        runs[of_piece] = widths
        runs[np.cumsum(pieces.counts) + np.arange(rows)] = length - np.bincount(row, widths, rows).astype(np.int64)
        places = _before(runs)
        begins = places[of_piece]

        def spread(values: np.ndarray | int) -> np.ndarray:
            """A value of each piece at all its places, 0 at padding."""
            of_run = np.zeros(len(runs), np.int32)
            of_run[of_piece] = values
            return np.repeat(of_run, runs).reshape(rows, length)

        tokens = np.full(rows * length, self._specials.pad, np.int32)
        word_starts = np.zeros(rows * length, bool)
        self._copy_text(pieces, begins + opens, tokens, word_starts)
        first, last = begins[opens == 1], begins + widths - 1
        tokens[first], tokens[last] = self._specials.cls, self._specials.sep
        word_starts[first] = word_starts[last] = word_starts[begins + opens] = True

        if restarts:
            run_starts = np.repeat(places.astype(np.int32), runs)
            positions = (np.arange(rows * length, dtype=np.int32) - run_starts).reshape(rows, length)
        else:
            positions = np.tile(np.arange(length, dtype=np.int32), (rows, 1))
        return {
            "tokens": tokens.reshape(rows, length),
            "segments": spread(1 if paired else number + 1),
            "positions": positions,
            "token_types": spread(number) if paired else np.zeros((rows, length), np.int32),
            "word_starts": word_starts.reshape(rows, length),
        }

    def _copy_text(self, pieces: Pieces, places: np.ndarray, tokens: np.ndarray, word_starts: np.ndarray) -> None:
        """Copies the tokens of each piece, and which of them start a word, to its place in the flat arrays."""
        shards = np.searchsorted(self._firsts, pieces.starts, side="right") - 1
        starts = pieces.starts - self._firsts[shards]
        stops = starts + pieces.lengths
        # Bits are packed by eight: whole bytes are read first, and unpacked all at once.
        first_byte, last_byte = starts >> 3, (stops + 7) >> 3
        ends = np.cumsum(last_byte - first_byte)
        begins = ends - (last_byte - first_byte)
        packed = np.empty(ends[-1] if len(ends) else 0, np.uint8)
        touched: list[np.ndarray] = []
        columns = (shards, places, places + pieces.lengths, starts, stops, begins, ends, first_byte, last_byte)
        for shard, to, to_end, start, stop, byte, byte_end, first, last in zip(
            *(c.tolist() for c in columns), strict=True
        ):
            text, bits = self._mapped[shard] if shard in self._mapped else self._map(shard)
            tokens[to:to_end] = text[start:stop]
            packed[byte:byte_end] = bits[first:last]
            touched.append(text)
            if len(touched) == _TOUCHES:
                if not self._fits:
                    release(*touched)
                touched.clear()
        unpacked = np.unpackbits(packed, bitorder="little").view(bool)
        bit = 8 * begins + (starts & 7)
        for to, to_end, first, last in zip(
            *(c.tolist() for c in (*columns[1:3], bit, bit + pieces.lengths)), strict=True
        ):
            word_starts[to:to_end] = unpacked[first:last]

    def _map(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and packed word starts, without memmap's overhead at every access."""
        opened = self._shards[shard]
        self._mapped[shard] = np.asarray(opened.tokens), np.asarray(opened._section("word_starts"))
        if not self._fits:
            read_randomly(opened.tokens)
        return self._mapped[shard]


def _before(counts: np.ndarray) -> np.ndarray:
    """How many there are before each."""
    return np.cumsum(counts) - counts
