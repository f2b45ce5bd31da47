"""As the tokenizer's vocabulary marks them: a piece without ##, with ▁ or with Ġ starts a word."""

import numpy as np

from data_pipeline.tokenizers import Tokenizer
from data_pipeline.words import WordStarts


def build(tokenizer: Tokenizer) -> WordStarts:
    """Word starts by a table over the vocabulary."""
    table = tokenizer.word_start

    def word_starts(tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        del lengths
        return table[tokens]

    return word_starts
