"""Which tokens start a word, for masking whole words: one way a file.

A file's `build(tokenizer, *, …options)` gives a function from the ids of sentences, one after the other, and
their lengths to the word starts: (uint32 [n], [s]) -> bool [n]. The store keeps them as one bit a token.
"""

from collections.abc import Callable

import numpy as np

WordStarts = Callable[[np.ndarray, np.ndarray], np.ndarray]
