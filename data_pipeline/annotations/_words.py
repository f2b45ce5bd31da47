"""Words for annotations that join them: runs of letters and digits, and single punctuation characters."""

from typing import NamedTuple

import numpy as np

from data_pipeline.tokenizers import Tokenizer


class Marks(NamedTuple):
    """What the surface of each piece of a vocabulary says, bool [V]."""

    plain: np.ndarray  # it has a letter, a digit or part of a character, or is a space that stands before a word
    blank: np.ndarray  # it is such a space alone
    capital: np.ndarray  # its first letter is a capital


def marks_of(tokenizer: Tokenizer) -> Marks:
    """The marks of a vocabulary."""
    decoded = [surface.decode("utf-8", "replace") for surface in tokenizer.surfaces]
    cut = [text.encode() != surface for text, surface in zip(decoded, tokenizer.surfaces, strict=True)]
    texts = [text.strip() for text in decoded]
    plain = np.array([not text or any(map(str.isalnum, text)) for text in texts], bool) | cut
    blank = np.array([not text for text in texts], bool)
    return Marks(plain, blank, np.array([text[:1].isupper() for text in texts], bool))


def first_letters(tokens: np.ndarray, firsts: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """The token of each word's first letter, for words that start at the positions `firsts`."""
    return tokens[np.minimum(firsts + blank[tokens[firsts]], len(tokens) - 1)]


def split_punctuation(tokens: np.ndarray, word_starts: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """bool [n]: word starts, where also a piece of punctuation, and what follows it, starts a word."""
    punctuation = ~plain[tokens]
    after = np.zeros(len(tokens), bool)
    after[1:] = punctuation[:-1]
    return word_starts | punctuation | after


def join(word_starts: np.ndarray, starts: np.ndarray, inner: np.ndarray, after: np.ndarray) -> np.ndarray:
    """bool [n]: where units start. All arguments are of the same kind.

    Args:
      word_starts: the words of text that is in no unit.
      starts: first tokens of units.
      inner: their other tokens.
      after: the tokens after the last one of each.
    """
    return (word_starts & ~inner) | starts | (after & ~inner)


class Words(NamedTuple):
    """The w words of sentences."""

    keys: np.ndarray  # uint64 [w], a hash of the tokens; 0 for punctuation
    starts: np.ndarray  # int64 [w], first tokens
    sentences: np.ndarray  # int64 [w], the number of each word's sentence


def words_of(tokens: np.ndarray, lengths: np.ndarray, starts: np.ndarray, plain: np.ndarray) -> Words:
    """The words that start at bool [n], of sentences of these lengths [s]."""
    firsts = np.flatnonzero(starts)
    number = np.cumsum(starts) - 1
    inside = (np.arange(len(tokens)) - firsts[number]).astype(np.uint64) if len(firsts) else np.zeros(0, np.uint64)
    mixed = _mix(tokens.astype(np.uint64) + (inside << np.uint64(32)) + np.uint64(1))
    keys = np.add.reduceat(mixed, firsts) if len(firsts) else np.zeros(0, np.uint64)
    keys = np.where(plain[tokens[firsts]], keys | np.uint64(1), np.uint64(0))
    return Words(keys, firsts, np.searchsorted(np.cumsum(lengths), firsts, side="right"))


def keys_of(words: Words, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A hash of the run of `size` words from each word on, uint64 [w - size + 1], and which hold no punctuation.

    No run goes beyond its sentence.
    """
    count = max(0, len(words.keys) - size + 1)
    keys, usable = np.zeros(count, np.uint64), np.ones(count, bool)
    for i in range(size):
        part = words.keys[i : i + count]
        keys, usable = _mix(keys + part), usable & (part > 0)
    last = words.sentences[size - 1 : size - 1 + count]
    return keys, usable & (words.sentences[:count] == last)


def _mix(x: np.ndarray) -> np.ndarray:
    """uint64: the last step of SplitMix64 (Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
