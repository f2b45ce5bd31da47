"""From row numbers to arrays: reads the tokens of many rows at once and sets the special tokens."""

from typing import NamedTuple

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.memory import release
from data_pipeline.row_index import RowIndex
from data_pipeline.store import Shard, Split

Batch = dict[str, np.ndarray]

_ROWS_BEFORE_RELEASE = 512  # each may have mapped 64 KB around its tokens


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
        self._read_since_release = 0
        if index.format.pair == "nsp" and index.documents[0] == index.documents[-1]:
            raise DataError('next-sentence pairs need rows of two documents at least; give more text or label="sop"')

    def read(self, rows: np.ndarray, draws: np.ndarray) -> Batch:
        """The batch of these rows, as `data_pipeline.pipeline.batches` describes it.

        Args:
          rows: int64 [B]; a negative number stands for a row of padding.
          draws: uint64 [B], the randomness that a pair format may use.
        """
        if self.index.format.pair:
            pieces, labels = self._pairs(rows, draws)
            batch = self._assemble(pieces) | {"pair_label": labels}
        else:
            batch = self._assemble(self._pieces(rows))
        self._read_since_release += len(rows)
        if self._read_since_release >= _ROWS_BEFORE_RELEASE:
            self._read_since_release = 0
            self._release()
        return batch

    def _pieces(self, rows: np.ndarray) -> Pieces:
        index = self.index
        real = np.maximum(rows, 0)
        firsts = index.rows[real].astype(np.int64)
        counts = np.where(rows < 0, 0, index.rows[real + 1].astype(np.int64) - firsts)
        ids, _ = _ranges(firsts, counts)
        return Pieces(counts, index.starts[ids].astype(np.int64), index.lengths[ids].astype(np.int64))

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
            other = self._pieces(self._other_documents(rows[labels == 1], draws[labels == 1] >> np.uint64(1)))
            starts[changed, 1] = other.starts[1::2]
            lengths[changed, 1] = np.minimum(other.lengths[1::2], self.index.length - 3 - lengths[changed, 0])
        return Pieces(pieces.counts, starts.reshape(-1), lengths.reshape(-1)), labels

    def _other_documents(self, rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """A row for each row, drawn from those of all other documents."""
        documents = self.index.documents
        first = np.searchsorted(documents, documents[rows], side="left")
        last = np.searchsorted(documents, documents[rows], side="right")
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
        begins = _before(runs)[of_piece]

        def spread(values: np.ndarray | int) -> np.ndarray:
            """A value of each piece at all its places, 0 at padding."""
            of_run = np.zeros(len(runs), np.int32)
            of_run[of_piece] = values
            return np.repeat(of_run, runs).reshape(rows, length)

        segments = spread(1 if paired else number + 1)
        if restarts:
            positions = np.arange(rows * length, dtype=np.int32).reshape(rows, length) - spread(begins)
            positions *= segments > 0
        else:
            positions = np.tile(np.arange(length, dtype=np.int32), (rows, 1))

        first, last = begins[opens == 1], begins + widths - 1
        is_text = (segments > 0).reshape(-1)
        is_text[first] = is_text[last] = False
        text, word_start = self._read_text(pieces)
        tokens = np.full(rows * length, self._specials.pad, np.int32)
        tokens[is_text] = text
        tokens[first], tokens[last] = self._specials.cls, self._specials.sep
        word_starts = np.zeros(rows * length, bool)
        word_starts[is_text] = word_start
        word_starts[first] = word_starts[last] = word_starts[begins + opens] = True
        return {
            "tokens": tokens.reshape(rows, length),
            "segments": segments,
            "positions": positions,
            "token_types": spread(number) if paired else np.zeros((rows, length), np.int32),
            "word_starts": word_starts.reshape(rows, length),
        }

    def _read_text(self, pieces: Pieces) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of all pieces one after the other, int32 [n], and whether each starts a word, bool [n]."""
        shards = np.searchsorted(self._firsts, pieces.starts, side="right") - 1
        starts = pieces.starts - self._firsts[shards]
        first_byte, last_byte = starts >> 3, (starts + pieces.lengths - 1) >> 3
        text_at, text_ends = _ranges(starts, pieces.lengths)
        bytes_at, bytes_ends = _ranges(first_byte, last_byte + 1 - first_byte)
        text, packed = np.empty(len(text_at), np.int32), np.empty(len(bytes_at), np.uint8)
        a = i = 0
        changes = np.append(np.flatnonzero(np.diff(shards)), len(shards) - 1) if len(shards) else ()
        for piece in changes:  # the last piece before another shard
            tokens, word_bits = self._map(int(shards[piece]))
            b, j = text_ends[piece], bytes_ends[piece]
            text[a:b] = tokens[text_at[a:b]]
            packed[i:j] = word_bits[bytes_at[i:j]]
            a, i = b, j
        # Of each piece's bytes, skip the bits before its first token and after its last.
        skipped = np.stack([starts & 7, pieces.lengths, 7 - ((starts + pieces.lengths - 1) & 7)], axis=1).reshape(-1)
        wanted = np.repeat(np.tile([False, True, False], len(starts)), skipped)
        return text, np.unpackbits(packed, bitorder="little")[wanted].view(bool)

    def _map(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        if shard not in self._mapped:
            self._mapped[shard] = _plain(self._shards[shard])
        return self._mapped[shard]

    def _release(self) -> None:
        """Gives the pages that were read back to the system."""
        for text, _ in list(self._mapped.values()):
            release(text)
        self.index.release()


def _plain(shard: Shard) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and packed word starts without memmap's overhead at every access."""
    return np.asarray(shard.tokens), np.asarray(shard._section("word_starts"))


def _before(counts: np.ndarray) -> np.ndarray:
    """How many there are before each."""
    return np.cumsum(counts) - counts


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """start, start + 1, … of each range, one range after the other, and where each range ends in that."""
    ends = np.cumsum(lengths)
    each = np.repeat(starts - (ends - lengths), lengths)
    each += np.arange(len(each))
    return each, ends
