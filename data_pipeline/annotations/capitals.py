"""Names, as runs of capitalised words: a guess at entities for text that has capitals, without a model or a list.

For masking entities whole (ERNIE 1.0, Sun et al. 2019, arXiv 1904.09223, section 3.2, which had an analyser). A run
goes on over words that begin with a capital, across no punctuation and no end of a sentence. The first word of a
sentence is capitalised whatever it is, so it belongs to a run only where that goes on after it.
"""

import numpy as np

from configuration.variants import ConfigError
from data_pipeline.annotations import Annotate
from data_pipeline.annotations._words import first_letters, join, marks_of, split_punctuation
from data_pipeline.tokenizers import Tokenizer


def build(tokenizer: Tokenizer, *, most: int = 6) -> Annotate:
    """Unit starts: of each name, and of each word outside names.

    Args:
      most: words in a name; longer runs, such as headlines, are parted after so many.

    Raises:
      ConfigError: the vocabulary has no capitals.
    """
    if most < 1:
        raise ConfigError(f"config.data.annotations.capitals.most is {most}; it must be at least 1")
    marks = marks_of(tokenizer)
    if not marks.capital.any():
        raise ConfigError("config.data.annotations has capitals, but the tokenizer lowers case: it must keep it")

    def annotate(tokens: np.ndarray, lengths: np.ndarray, word_starts: np.ndarray) -> np.ndarray:
        words = split_punctuation(tokens, word_starts, marks.plain)
        firsts = np.flatnonzero(words)
        capital = marks.capital[first_letters(tokens, firsts, marks.blank)]
        opens = np.isin(firsts, np.cumsum(lengths) - lengths)  # a sentence
        goes_on = capital & ~opens
        goes_on[1:] &= capital[:-1]  # the word continues the run of the one before it
        goes_on[:1] = False
        number = np.arange(len(firsts))
        begun = np.maximum.accumulate(np.where(goes_on, 0, number))
        goes_on &= (number - begun) % most > 0
        inner = np.zeros(len(tokens), bool)
        inner[firsts[goes_on]] = True
        return _of_words(word_starts, firsts, goes_on, inner)

    return annotate


def _of_words(word_starts: np.ndarray, firsts: np.ndarray, goes_on: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The unit starts, for words whose first tokens are `firsts` and which belong to the one before where `goes_on`."""
    follows = np.append(goes_on[1:], False)
    begins, ends = np.zeros(len(inner), bool), np.zeros(len(inner) + 1, bool)
    begins[firsts[follows & ~goes_on]] = True
    last = goes_on & ~follows
    ends[np.append(firsts, len(inner))[1:][last]] = True
    return join(word_starts, begins, inner, ends[:-1])
