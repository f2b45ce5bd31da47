"""From row numbers to arrays: reads the tokens of many rows at once and sets the special tokens."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np

from data_pipeline.batches.pieces import TOUCHES, Pieces, TableReader, before
from data_pipeline.batches.row_index import RowIndex
from data_pipeline.store import Split
from data_pipeline.store.memory import read_randomly, release

Batch = dict[str, np.ndarray]

_KEPT = 3 << 25  # bytes of mapped files that may stay in this process's memory


class Specials(NamedTuple):
    """Ids of the tokens that rows add to the text."""

    pad: int
    cls: int
    sep: int


class Reader:
    """Reads the rows of a split, with those of the store's annotations that are named."""

    def __init__(self, split: Split, index: RowIndex, specials: Specials, annotations: Collection[str] = ()):
        self._shards = split.shards
        self._specials = specials
        self._firsts = np.cumsum([0, *(shard.facts.tokens for shard in split.shards)])
        kinds = split.shards[0].facts.annotations if split.shards else {}
        self._starts = [name for name in annotations if kinds[name] == "starts"]
        self._labels = [name for name in annotations if kinds[name] == "labels"]
        self._mapped: dict[tuple[int, str], np.ndarray] = {}
        self._fits = 3 * split.tokens < _KEPT  # tokens, some annotations and index stay within bounds
        if not self._fits:
            read_randomly(index.rows, index.starts, index.lengths, index.documents)
        index.format.check(index)
        self.index = index
        self._rows = TableReader(index, self._fits)

    def read(self, rows: np.ndarray, draws: Callable[[], np.ndarray]) -> Batch:
        """The batch of these rows, as `data_pipeline.batches.pipeline.batches` describes it.

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

        # Every row is a run for each piece and one of padding; all runs together are the B * L positions.
        runs = np.zeros(len(row) + rows, np.int64)
        of_piece = np.arange(len(row)) + row
        runs[of_piece] = widths
        runs[np.cumsum(pieces.counts) + np.arange(rows)] = length - np.bincount(row, widths, rows).astype(np.int64)
        places = before(runs)
        begins = places[of_piece]

        def spread(values: np.ndarray | int) -> np.ndarray:
            """A value of each piece at all its positions, 0 at padding."""
            of_run = np.zeros(len(runs), np.int32)
            of_run[of_piece] = values
            return np.repeat(of_run, runs).reshape(rows, length)

        tokens = np.full(rows * length, self._specials.pad, np.int32)
        copies = _Copies(*self._located(pieces), places=begins + opens)
        self._copy(copies, "tokens", tokens)
        first, last = begins[opens == 1], begins + widths - 1
        tokens[first], tokens[last] = self._specials.cls, self._specials.sep
        annotations = {name: np.zeros(rows * length, np.uint8) for name in self._labels}
        for name, labels in annotations.items():
            self._copy(copies, name, labels)
        for name in self._starts:
            annotations[name] = starts = np.zeros(rows * length, bool)
            self._copy_bits(copies, name, starts)
            starts[first] = starts[last] = starts[begins + opens] = True

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
            **{name: values.reshape(rows, length) for name, values in annotations.items()},
        }

    def _located(self, pieces: Pieces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The shard of each piece, and its first token and length there."""
        shards = np.searchsorted(self._firsts, pieces.starts, side="right") - 1
        return shards, pieces.starts - self._firsts[shards], pieces.lengths

    def _copy(self, copies: "_Copies", name: str, to: np.ndarray) -> None:
        """Copies a section's values, one per token, to the pieces' positions in a flat array."""
        begins, ends = copies.places, copies.places + copies.lengths
        self._fill(to, name, copies.shards, begins, ends, copies.starts, copies.starts + copies.lengths)

    def _copy_bits(self, copies: "_Copies", name: str, to: np.ndarray) -> None:
        """`_copy` of bits. They are packed by eight: bytes are read first and unpacked together."""
        first_byte, last_byte = copies.starts >> 3, (copies.starts + copies.lengths + 7) >> 3
        ends = np.cumsum(last_byte - first_byte)
        begins = ends - (last_byte - first_byte)
        packed = np.empty(ends[-1] if len(ends) else 0, np.uint8)
        self._fill(packed, name, copies.shards, begins, ends, first_byte, last_byte)
        unpacked = np.unpackbits(packed, bitorder="little").view(bool)
        bit = 8 * begins + (copies.starts & 7)
        columns = (copies.places, copies.places + copies.lengths, bit, bit + copies.lengths)
        for place, end, first, last in zip(*(c.tolist() for c in columns), strict=True):
            to[place:end] = unpacked[first:last]

    def _fill(self, to: np.ndarray, name: str, *columns: np.ndarray) -> None:
        """For each (shard, begin, end, start, stop): `to[begin:end]` from `start:stop` of the shard's section."""
        touched: list[np.ndarray] = []
        for shard, begin, end, start, stop in zip(*(c.tolist() for c in columns), strict=True):
            section = self._mapped[shard, name] if (shard, name) in self._mapped else self._map(shard, name)
            to[begin:end] = section[start:stop]
            touched.append(section)
            if len(touched) == TOUCHES:
                if not self._fits:
                    release(*touched)
                touched.clear()

    def _map(self, shard: int, name: str) -> np.ndarray:
        """A section of a shard, without memmap's overhead at every access."""
        section = np.asarray(self._shards[shard].section(name))
        if not self._fits:
            read_randomly(section)
        self._mapped[shard, name] = section
        return section


class _Copies(NamedTuple):
    """Which tokens of the shards go where, for each of P pieces; all int64 [P]."""

    shards: np.ndarray
    starts: np.ndarray  # first token within the shard
    lengths: np.ndarray  # tokens
    places: np.ndarray  # of the first in a flat array of all rows
