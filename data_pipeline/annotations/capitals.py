"""Names, as runs of capitalised words: a guess at entities for text that has capitals, without a model or a list.

For masking entities whole (ERNIE 1.0, Sun et al. 2019, arXiv 1904.09223, section 3.2, which had an analyser). A run
continues over words that begin with a capital, not across punctuation or the end of a sentence. The first word of a
sentence is capitalised whatever it is, so it belongs to a run only if the run continues after it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from configuration.variants import ConfigError
from data_pipeline.annotations import Annotate
from data_pipeline.annotations._words import first_letters, join, marks_of, split_punctuation
from data_pipeline.tokenizers import Tokenizer


def build(tokenizer: Tokenizer, *, most: int = 6) -> Annotate:
    """Unit starts: of each name, and of each word outside names.

    Args:
      most: words in a name; longer runs, such as headlines, are split.

    Raises:
      ConfigError: the vocabulary has no capitals.
    """
    find = finder(tokenizer, most, "capitals")

    def annotate(tokens: np.ndarray, lengths: np.ndarray, word_starts: np.ndarray) -> np.ndarray:
        found = find(tokens, lengths, word_starts)
        inner = np.zeros(len(tokens), bool)
        inner[found.firsts[found.goes_on]] = True
        return _of_words(word_starts, found.firsts, found.goes_on, inner)

    return annotate


class Runs(NamedTuple):
    """Words, and which of them make runs of capitalised ones."""

    firsts: np.ndarray  # int64 [w], first tokens
    capital: np.ndarray  # bool [w]: it begins with a capital
    opens: np.ndarray  # bool [w]: a sentence begins with it
    goes_on: np.ndarray  # bool [w]: it continues the run of the word before


def finder(tokenizer: Tokenizer, most: int, field: str) -> Callable[[np.ndarray, np.ndarray, np.ndarray], Runs]:
    """What finds the runs of text, given as an annotation's function gets it.

    Raises:
      ConfigError: as `build`, of the annotation `field`.
    """
    if most < 1:
        raise ConfigError(f"config.data.annotations.{field}.most is {most}; it must be at least 1")
    marks = marks_of(tokenizer)
    if not marks.capital.any():
        raise ConfigError(f"config.data.annotations has {field}, but the tokenizer lowers case: it must keep it")

    def find(tokens: np.ndarray, lengths: np.ndarray, word_starts: np.ndarray) -> Runs:
        firsts = np.flatnonzero(split_punctuation(tokens, word_starts, marks.plain))
        capital = marks.capital[first_letters(tokens, firsts, marks.blank)]
        opens = np.isin(firsts, np.cumsum(lengths) - lengths)
        goes_on = capital & ~opens
        goes_on[1:] &= capital[:-1]
        goes_on[:1] = False
        number = np.arange(len(firsts))
        begun = np.maximum.accumulate(np.where(goes_on, 0, number))
        goes_on &= (number - begun) % most > 0
        return Runs(firsts, capital, opens, goes_on)

    return find


def _of_words(word_starts: np.ndarray, firsts: np.ndarray, goes_on: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The unit starts, for words whose first tokens are `firsts` and which belong to the one before where `goes_on`."""
    follows = np.append(goes_on[1:], False)
    begins, ends = np.zeros(len(inner), bool), np.zeros(len(inner) + 1, bool)
    begins[firsts[follows & ~goes_on]] = True
    last = goes_on & ~follows
    ends[np.append(firsts, len(inner))[1:][last]] = True
    return join(word_starts, begins, inner, ends[:-1])
