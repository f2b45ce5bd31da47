"""Memory-mapped arrays in a process with little memory."""

import mmap

import numpy as np


def release(*arrays: np.ndarray) -> None:
    """Releases pages of memory-mapped arrays; they are read again when touched.

    What was read stays in the system's cache of files, but no longer counts as this process's memory.
    Arrays that are not memory-mapped are left alone.
    """
    _advise(arrays, "MADV_DONTNEED")


def read_randomly(*arrays: np.ndarray) -> None:
    """Tells the system not to read ahead of what is touched in memory-mapped arrays."""
    _advise(arrays, "MADV_RANDOM")


def _advise(arrays: tuple[np.ndarray, ...], advice: str) -> None:
    for array in arrays:
        base: object = array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and hasattr(mmap, advice):  # not every system takes advice
            base.madvise(getattr(mmap, advice))
