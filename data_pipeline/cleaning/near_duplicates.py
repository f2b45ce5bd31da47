"""Documents that share most of their text with one before them.

The likeness of two documents is the Jaccard coefficient of their sets of runs of five words (Lee et al. 2022,
"Deduplicating training data makes language models better", section 4.2), estimated by MinHash (Broder 1997).
Locality-sensitive hashing finds the pairs that may be alike: those that agree in a whole band of their signatures.
The hash functions and the shape of the bands are those of the library `datasketch`. The index is not: in its dicts a
document takes 4.7 kB, in the sorted arrays here 114 bytes (benchmarks/near_duplicates.py).
"""

import functools
import zlib

import numpy as np

from configuration.variants import ConfigError
from data_pipeline.batches.permutation import hashed
from data_pipeline.cleaning import Duplicates
from data_pipeline.cleaning._words import runs_in
from data_pipeline.store.memory import release

_AT_ONCE = 1 << 14  # signatures read together: a few MB
_HASHED_AT_ONCE = 1 << 8  # runs: their hashes stay in the processor's cache
_MISSES_COST = 0.9  # of the weight in choosing bands: a false candidate is looked at and costs only time


def build(*, threshold: float = 0.8, words: int = 5, permutations: int = 128) -> Duplicates:
    """Removal of near-duplicates.

    Args:
      threshold: the likeness from which a document is a duplicate; 1 is the same text.
      words: in a run.
      permutations: numbers in a signature, 4 bytes each; more tell likeness more exactly.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"config.data.cleaning: near_duplicates.threshold={threshold} must be above 0 and at most 1")
    if words < 1 or permutations < 16:
        given = f"near_duplicates.words={words}, near_duplicates.permutations={permutations}"
        raise ConfigError(f"config.data.cleaning: {given}; give at least 1 word and 16 permutations")
    return Duplicates(_Signature(words, permutations), functools.partial(_originals, threshold=threshold))


class _Signature:
    """Text to the uint32 [permutations] of its MinHash."""

    def __init__(self, words: int, permutations: int):
        self._words, self._permutations = words, permutations

    @functools.cached_property
    def _functions(self) -> tuple[np.ndarray, np.ndarray]:
        """Factors and summands, uint32 [permutations]."""
        import datasketch

        factors, summands = datasketch.MinHash(self._permutations, scheme="affine32").permutations
        return factors, summands

    def __call__(self, text: str) -> np.ndarray:
        runs = runs_in(text, self._words)
        if not runs.size:  # no word: the text itself
            runs = hashed(zlib.crc32(text.encode()))
        factors, summands = self._functions
        numbers = (runs >> np.uint64(32)).astype(np.uint32)[:, None]  # mixed already, as datasketch does first
        least = np.full(len(factors), np.iinfo(np.uint32).max, np.uint32)
        for start in range(0, len(numbers), _HASHED_AT_ONCE):
            part = numbers[start : start + _HASHED_AT_ONCE] * factors + summands
            np.minimum(least, part.min(0), out=least)
        return least


def _originals(signatures: np.ndarray, rows: np.ndarray, *, threshold: float) -> np.ndarray:
    """In the order of the documents: each is compared with the first one that stays of every bucket it is in."""
    documents, buckets, count = _shared_buckets(signatures, rows, threshold)
    first_of = np.full(count, -1, np.int64)
    originals = np.arange(len(rows))
    enough = threshold * signatures.shape[1]
    bounds = np.flatnonzero(np.diff(documents, prepend=-1, append=-1))
    for number, (start, stop) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        its = buckets[start:stop]
        candidates = np.unique(first_of[its])
        candidates = candidates[candidates >= 0]
        document = documents[start]
        alike = (signatures[rows[candidates]] == signatures[rows[document]]).sum(1)
        if candidates.size and alike.max() >= enough:
            originals[document] = candidates[alike.argmax()]
        else:
            first_of[its[first_of[its] < 0]] = document
        if number % _AT_ONCE == 0:
            release(signatures)
    return originals


def _shared_buckets(signatures: np.ndarray, rows: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Which documents are in which buckets, of those with two documents or more.

    Returns:
      documents [n] ascending, buckets [n] numbered from 0, and the number of buckets.
    """
    bands, width = _bands(threshold, signatures.shape[1])
    found_documents, found_buckets, count = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    for band in range(bands):
        keys = np.empty(len(rows), np.uint64)
        for start in range(0, len(rows), _AT_ONCE):
            chunk = signatures[rows[start : start + _AT_ONCE], band * width : (band + 1) * width]
            keys[start : start + _AT_ONCE] = hashed(*chunk.T)
            release(signatures)
        _, bucket, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        shared = np.flatnonzero(sizes[bucket] > 1)
        number = np.cumsum(sizes > 1) - 1
        found_documents.append(shared)
        found_buckets.append(number[bucket[shared]] + count)
        count += int(np.count_nonzero(sizes > 1))
    documents, buckets = np.concatenate(found_documents), np.concatenate(found_buckets)
    order = np.argsort(documents, kind="stable")
    return documents[order], buckets[order], count


@functools.cache
def _bands(threshold: float, permutations: int) -> tuple[int, int]:
    """How many bands a signature has, and how many of its numbers each."""
    import datasketch

    weights = (1 - _MISSES_COST, _MISSES_COST)
    index = datasketch.MinHashLSH(threshold=min(threshold, 0.99), num_perm=permutations, weights=weights)
    return index.b, index.r
