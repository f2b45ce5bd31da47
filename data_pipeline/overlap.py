"""How much of the held-out text is also in the training text, which makes held-out figures look too good.

A document repeats the training text where most of its runs of eight words are found in it, words being compared by
their letters and digits alone, in the form NFKC and without case (after the 8-grams of Brown et al. 2020, "Language
models are few-shot learners", appendix C, who use 13). The words are those of the store: so no text is read again,
and a run is a hash. Some held-out documents are looked at, and all of the training text, shard by shard.
"""

import concurrent.futures
import dataclasses
import functools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data_pipeline.batches.permutation import hashed
from data_pipeline.cleaning._words import runs_of
from data_pipeline.store import Shard
from data_pipeline.store.memory import release
from data_pipeline.tokenizers import Tokenizer

WORDS = 8  # in a run
_DOCUMENTS = 2000  # that are looked at: a share is known to two percent
_RUNS = 512  # of a document that are looked at, those of the smallest hashes
_AT_ONCE = 1 << 20  # tokens
_BEYOND = 1 << 12  # tokens after those, in which a run continues
_SHARE_SAID = 0.01  # above this share the remedy is shown
_BASE = np.uint64(0x100000001B3)  # odd
_LONGEST = 64  # pieces of a word, and bytes of a piece, that are compared
_OTHER_ASCII = bytes(code for code in range(128) if not chr(code).isalnum())
_FILTER_BITS = 24


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The runs of the held-out documents that are looked at."""

    hashes: np.ndarray  # uint64 [r], ascending, each once
    of_documents: Sequence[np.ndarray]  # of each document, which of `hashes` are its own


class Hasher:
    """Tokens to runs of words, by tables over the vocabulary.

    A word's hash is a polynomial in its bytes: the same for any pieces that it may be cut into.
    """

    def __init__(self, tokenizer: Tokenizer):
        folded = [_folded(surface) for surface in tokenizer.surfaces]
        lengths = np.array([len(piece) for piece in folded])
        every_byte = np.frombuffer(b"".join(folded), np.uint8)
        of_bytes = np.arange(1, 257, dtype=np.uint64), np.full(256, _BASE)
        self._hashes = _polynomials(every_byte, *of_bytes, np.cumsum(lengths) - lengths, lengths)
        powers = np.cumprod(np.append(np.uint64(1), np.full(lengths.max(initial=0), _BASE)), dtype=np.uint64)
        self._shifts = powers[lengths]

    def runs(self, tokens: np.ndarray, word_starts: np.ndarray) -> np.ndarray:
        """uint64: a hash of every run of WORDS words; the tokens before the first start of a word are left out."""
        firsts = np.flatnonzero(word_starts)
        words = _polynomials(tokens, self._hashes, self._shifts, firsts, np.diff(firsts, append=len(tokens)))
        words = words[words != 0]  # without letters and digits
        return runs_of(words, WORDS) if words.size >= WORDS else np.zeros(0, np.uint64)


def _polynomials(
    items: np.ndarray, values: np.ndarray, shifts: np.ndarray, firsts: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """The hashes of runs of items, uint64 [n].

    Args:
      items: int [t], in [0, k).
      values, shifts: uint64 [k], of each item, its hash and the factor of what stands before it.
      firsts, counts: int [n], where each run starts and how many items it has; those after _LONGEST do not count.
    """
    found = np.zeros(len(firsts), np.uint64)
    some = counts > 0
    found[some] = values[items[firsts[some]]]
    longer = np.flatnonzero(counts > 1)
    for number in range(1, _LONGEST):
        if not longer.size:
            break
        item = items[firsts[longer] + number]
        found[longer] = found[longer] * shifts[item] + values[item]
        longer = longer[counts[longer] > number + 1]
    return found


def _folded(surface: bytes) -> bytes:
    """Letters and digits of a piece as they are compared; what is a part of a character stays as it is."""
    if surface.isascii():
        return surface.lower().translate(None, _OTHER_ASCII)
    try:
        text = surface.decode()
    except UnicodeDecodeError:
        return surface.strip()
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if character.isalnum()).encode()


def wanted(shards: Sequence[Shard], hasher: Hasher) -> Wanted:
    """The runs of some documents of the held-out shards: the same ones whenever the text is the same."""
    numbers = np.cumsum([0, *(shard.facts.documents for shard in shards)])
    chosen = np.sort(np.argsort(hashed(np.arange(numbers[-1])), kind="stable")[:_DOCUMENTS])
    runs = []
    for shard, first, stop in zip(shards, numbers[:-1], numbers[1:], strict=True):
        for document in chosen[(chosen >= first) & (chosen < stop)] - first:
            start, end = shard.sentence_offsets[shard.document_offsets[document : document + 2]].tolist()
            found = np.unique(hasher.runs(shard.tokens[start:end], shard.annotation("word_starts", start, end)))
            if found.size:
                runs.append(found[:_RUNS])
        release(shard.tokens)
    hashes = np.unique(np.concatenate([np.zeros(0, np.uint64), *runs]))
    return Wanted(hashes, [np.searchsorted(hashes, found) for found in runs])


def met(shards: Iterable[Shard], hashes: np.ndarray, hasher: Hasher, threads: int = 1) -> np.ndarray:
    """bool [r]: which of the hashes, ascending, are runs of these shards. NumPy lets threads work side by side."""
    found = np.zeros(len(hashes), bool)
    shift = np.uint64(64 - _FILTER_BITS)
    candidates = np.zeros(1 << _FILTER_BITS, bool)
    candidates[hashes >> shift] = True

    def look(shard: Shard, start: int) -> None:
        stop = min(start + _AT_ONCE + _BEYOND, shard.facts.tokens)
        runs = hasher.runs(shard.tokens[start:stop], shard.annotation("word_starts", start, stop))
        runs = runs[candidates[runs >> shift]]
        places = np.minimum(np.searchsorted(hashes, runs), len(hashes) - 1)
        found[places[hashes[places] == runs]] = True

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for shard in shards if len(hashes) else ():
            for first in range(0, shard.facts.tokens, threads * _AT_ONCE):
                starts = range(first, min(first + threads * _AT_ONCE, shard.facts.tokens), _AT_ONCE)
                list(pool.map(functools.partial(look, shard), starts))
                release(shard.tokens)
    return found


def report(looked_at: Wanted, found: np.ndarray) -> dict[str, int]:
    """For the manifest: the documents looked at, and how many of them have most of their runs in the training text."""
    repeated = sum(bool(found[runs].mean() > 0.5) for runs in looked_at.of_documents)
    return {"words": WORDS, "documents": len(looked_at.of_documents), "repeated": repeated}


def measure(
    train: Sequence[Shard], held_out: Sequence[Shard], tokenizer: Tokenizer, threads: int = 1
) -> dict[str, int]:
    """The report on a store's shards. Memory is bounded: about 100 MB for each thread."""
    hasher = Hasher(tokenizer)
    looked_at = wanted(held_out, hasher)
    return report(looked_at, met(train, looked_at.hashes, hasher, threads))


def describe(found: Mapping[str, Any]) -> str:
    """The report as a line; "" where no document was long enough to be looked at."""
    if not found.get("documents"):
        return ""
    share = found["repeated"] / found["documents"]
    line = (
        f"{share:.1%} of {found['documents']:,} held-out documents have most of their runs of {found['words']} words "
        "in the training text"
    )
    return f"{line}; near_duplicates in config.data.cleaning removes such documents" if share > _SHARE_SAID else line
