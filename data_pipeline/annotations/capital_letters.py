"""Whether a word begins with a capital: what ERNIE 2.0's capital prediction asks (arXiv 1907.12412, section 4.2.1)."""

import numpy as np

from configuration.variants import ConfigError
from data_pipeline.annotations import Annotate
from data_pipeline.annotations._words import first_letters, marks_of, split_punctuation
from data_pipeline.tokenizers import Tokenizer

SMALL, CAPITAL = 1, 2  # 0 is no first token of a word, or begins with no letter that has a capital


def build(tokenizer: Tokenizer) -> Annotate:
    """A label of the first token of each word.

    Raises:
      ConfigError: the vocabulary has no capitals.
    """
    marks = marks_of(tokenizer)
    if not marks.capital.any():
        raise ConfigError("config.data.annotations has capital_letters, but the tokenizer lowers case: it must keep it")
    texts = [surface.decode("utf-8", "replace").strip() for surface in tokenizer.surfaces]
    small = np.array([text[:1].islower() for text in texts], bool)
    kinds = np.where(marks.capital, CAPITAL, np.where(small, SMALL, 0)).astype(np.uint8)

    def annotate(tokens: np.ndarray, lengths: np.ndarray, word_starts: np.ndarray) -> np.ndarray:
        del lengths
        firsts = np.flatnonzero(split_punctuation(tokens, word_starts, marks.plain))
        labels = np.zeros(len(tokens), np.uint8)
        labels[firsts] = kinds[first_letters(tokens, firsts, marks.blank)]
        return labels

    return annotate
