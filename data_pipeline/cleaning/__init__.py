"""Cleaning: one rule, or family of rules, a file; documents go through them in the order of the configuration.

A file's `build(*, …options)` gives one of three things:

    Rewrite     changes each text
    Remove      says of each text why it goes
    Duplicates  sees all documents at once, each by a small signature

The first two look at one document and nothing else. A rule sees what the rules before it left, and no text has
halves of surrogate pairs. `data_pipeline/clean.py` runs them.
"""

import dataclasses
import unicodedata
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Rewrite:
    change: Callable[[str], str]


@dataclasses.dataclass(frozen=True)
class Remove:
    reason: Callable[[str], str]  # in a few words, the same for all texts of a kind; empty to keep the text


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """Of documents that are alike, the first stays.

    `signature(text)` is an array of one dtype and shape for every text; workers take it. Then, in one
    process, `originals(signatures, rows)` gives for each of the d documents the one that it repeats, or
    itself where it stays: int64 [d], counted within `rows`. `signatures` is on disk, and `rows`, int64 [d],
    says which of it are of the d documents, in their order. What it holds in memory is a few hundred
    bytes a document at most.
    """

    signature: Callable[[str], np.ndarray]
    originals: Callable[[np.ndarray, np.ndarray], np.ndarray]


Rule = Rewrite | Remove | Duplicates


_SPACES = bytes(code for code in range(128) if chr(code).isspace())
# Wide commas, marks, brackets and spaces, most of what NFKC changes in Chinese text: they are quicker to replace first.
_WIDE = {wide: unicodedata.normalize("NFKC", wide) for wide in "\uff0c\uff01\uff1f\uff1a\uff1b\uff08\uff09\u3000"}
_OTHER_SPACES = ("\x85", "\u1680", "\u2028", "\u2029")  # that NFKC leaves; it makes a space of all others


def comparable(text: str) -> str:
    """The text without white space in the form NFKC: equal for documents that a reader takes for the same."""
    if not text.isascii():
        for wide, narrow in _WIDE.items():
            text = text.replace(wide, narrow)
        text = unicodedata.normalize("NFKC", text)
        for space in _OTHER_SPACES:
            text = text.replace(space, "")
    # Several times as fast as to split and join.
    return text.encode("utf-8", "surrogatepass").translate(None, _SPACES).decode("utf-8", "surrogatepass")
