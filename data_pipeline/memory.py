"""Memory-mapped arrays in a process that has to stay small."""

import mmap

import numpy as np


def release(*arrays: np.ndarray) -> None:
    """Gives pages of memory-mapped arrays back to the system; they are read again when touched.

    What was read stays in the system's cache of files, but no longer counts as this process's memory.
    Arrays that are not memory-mapped are left alone.
    """
    for array in arrays:
        base: object = array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)
