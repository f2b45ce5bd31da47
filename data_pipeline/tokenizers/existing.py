"""The tokenizer of an earlier store, for another corpus: the ids stay what they were."""

import os

from data_pipeline.tokenizers import Tokenizer, WordCounts, load_tokenizer


def build(word_counts: WordCounts, *, folder: str = "") -> Tokenizer:
    """Reads a tokenizer of any kind that this package made.

    Args:
      folder: the `tokenizer` folder of a store.

    Raises:
      DataError: there is none.
      FormatError: it is damaged.
    """
    del word_counts
    return load_tokenizer(os.path.expanduser(folder))
