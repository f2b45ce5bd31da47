"""From row numbers to arrays: reads the tokens of many rows at once and sets the special tokens."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from data_pipeline.memory import read_randomly, release
from data_pipeline.pieces import TOUCHES, IndexReader, Pieces, before
from data_pipeline.row_index import RowIndex
from data_pipeline.store import Split

Batch = dict[str, np.ndarray]

_KEPT = 3 << 25  # bytes of mapped files that may stay in this process's memory


class Specials(NamedTuple):
    """Ids of the tokens that rows add to the text."""

    pad: int
    cls: int
    sep: int


class Reader:
    """Reads the rows of a split."""

    def __init__(self, split: Split, index: RowIndex, specials: Specials):
        self._shards = split.shards
        self._specials = specials
        self._firsts = np.cumsum([0, *(shard.facts.tokens for shard in split.shards)])
        self._mapped: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._fits = 3 * split.tokens < _KEPT  # tokens, word starts and index stay within bounds
        if not self._fits:
            read_randomly(index.rows, index.starts, index.lengths, index.documents)
        index.format.check(index)
        self.index = index
        self._rows = IndexReader(index, self._fits)

    def read(self, rows: np.ndarray, draws: Callable[[], np.ndarray]) -> Batch:
        """The batch of these rows, as `data_pipeline.pipeline.batches` describes it.

        Args:
          rows: int64 [B]; a negative number stands for a row of padding.
          draws: gives uint64 [B], the randomness of a format that arranges rows anew each epoch.
        """
        if self.index.format.arrange is None:
            return self._assemble(self._rows.pieces(rows))
        arranged = self.index.format.arrange(self._rows, rows, draws())
        return self._assemble(arranged.pieces) | dict(arranged.fields)

    def _assemble(self, pieces: Pieces) -> Batch:
        length, one_text, restarts = self.index.length, self.index.format.one_text, self.index.format.opening == "piece"
        rows = len(pieces.counts)
        row = np.repeat(np.arange(rows), pieces.counts)
        number = np.arange(len(row)) - np.repeat(before(pieces.counts), pieces.counts)  # of the piece in its row
        opens = np.ones(len(row), np.int64) if restarts else (number == 0).astype(np.int64)
        widths = opens + pieces.lengths + 1  # [CLS] where it opens, text, [SEP]

        # Every row is a run for each piece and one of padding; all runs together are the B * L places.
        runs = np.zeros(len(row) + rows, np.int64)
        of_piece = np.arange(len(row)) + row
        runs[of_piece] = widths
        runs[np.cumsum(pieces.counts) + np.arange(rows)] = length - np.bincount(row, widths, rows).astype(np.int64)
        places = before(runs)
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
            "segments": spread(1 if one_text else number + 1),
            "positions": positions,
            "token_types": spread(number) if one_text else np.zeros((rows, length), np.int32),
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
            if len(touched) == TOUCHES:
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
