"""The pieces of rows in a table of rows: what a row format may read when it arranges rows."""

import dataclasses
from typing import NamedTuple

import numpy as np

from data_pipeline.store.memory import release

TOUCHES = 64  # random reads, where more is mapped, before pages are given back; each may map a MB around it


@dataclasses.dataclass(frozen=True)
class RowTable:
    """The R rows of a split. Row r holds the pieces rows[r] … rows[r+1]-1."""

    length: int  # L
    rows: np.ndarray  # uint64 [R+1]
    starts: np.ndarray  # uint64 [P], the first token of each piece, counted within the split
    lengths: np.ndarray  # uint32 [P]
    documents: np.ndarray  # uint32 [R], the first document of each row, counted within the split


class Pieces(NamedTuple):
    """The P pieces of B rows, row by row."""

    counts: np.ndarray  # int64 [B], pieces in each row; 0 makes a row of padding
    starts: np.ndarray  # int64 [P], first token, counted within the split
    lengths: np.ndarray  # int64 [P]


class TableReader:
    """Reads a table that may be larger than memory.

    Args:
      fits: whether the table may stay in this process's memory.
    """

    def __init__(self, table: RowTable, fits: bool):
        self.table = table
        self.fits = fits

    def pieces(self, rows: np.ndarray) -> Pieces:
        """The pieces of rows int64 [B]; a negative number stands for a row of padding."""
        table = self.table
        real = np.maximum(rows, 0)
        firsts = self.look_up(table.rows, real)
        counts = np.where(rows < 0, 0, self.look_up(table.rows, real + 1) - firsts)
        ids = np.repeat(firsts - before(counts), counts) + np.arange(counts.sum())
        return Pieces(counts, self.look_up(table.starts, ids), self.look_up(table.lengths, ids))

    def look_up(self, array: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Entries of one of the table's arrays, as int64."""
        if self.fits:
            return array[places].astype(np.int64)
        found = np.empty(len(places), np.int64)
        for first in range(0, len(places), TOUCHES):
            found[first : first + TOUCHES] = array[places[first : first + TOUCHES]]
            release(array)
        return found


def before(counts: np.ndarray) -> np.ndarray:
    """Number of pieces before each row."""
    return np.cumsum(counts) - counts
