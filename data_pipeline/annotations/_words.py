"""Words for annotations that join them: runs of letters and digits, punctuation each by itself."""

from typing import NamedTuple

import numpy as np

from data_pipeline.tokenizers import Tokenizer


class Marks(NamedTuple):
    """What the surface of each piece of a vocabulary says, bool [V]."""

    plain: np.ndarray  # it has a letter or a digit, or is a space that stands before a word
    blank: np.ndarray  # it is such a space alone
    capital: np.ndarray  # its first letter is a capital


def marks_of(tokenizer: Tokenizer) -> Marks:
    """The marks of a vocabulary."""
    texts = [surface.decode("utf-8", "replace").strip() for surface in tokenizer.surfaces]
    plain = np.array([not text or any(map(str.isalnum, text)) for text in texts], bool)
    blank = np.array([not text for text in texts], bool)
    return Marks(plain, blank, np.array([text[:1].isupper() for text in texts], bool))


def first_letters(tokens: np.ndarray, firsts: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """The token of each word's first letter, for words that start at the places `firsts`."""
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
