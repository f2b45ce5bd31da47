"""Documents equal to an earlier one, up to white space and Unicode form."""

import hashlib

import numpy as np

from data_pipeline.cleaning import Duplicates, comparable

_BYTES = 16  # of the hash: two different documents in 10^15 would share one


def build() -> Duplicates:
    return Duplicates(_signature, _originals)


def _signature(text: str) -> np.ndarray:
    digest = hashlib.blake2b(comparable(text).encode("utf-8", "replace"), digest_size=_BYTES).digest()
    return np.frombuffer(digest, "<u8")


def _originals(signatures: np.ndarray, rows: np.ndarray) -> np.ndarray:
    chosen = np.asarray(signatures[rows])  # 16 bytes a document
    order = np.lexsort(chosen.T)  # stable: the first of equal documents comes first
    opens = np.ones(len(rows), bool)
    opens[1:] = np.any(chosen[order[1:]] != chosen[order[:-1]], axis=1)
    originals = np.empty(len(rows), np.int64)
    originals[order] = order[opens][np.cumsum(opens) - 1]
    return originals
