"""Which tokens start a word, for masking whole words: one way a file.

A file's `build(tokenizer, *, …options)` gives a function from the ids of sentences, one after the other, and
their lengths to the word starts: (uint32 [n], [s]) -> bool [n]. The store keeps them as one bit a token.
`depends_on(*, …options) -> dict[str, str]`, where a file has it, says what else decides the words, such as the version
of a package; a store of others is refused.
"""

from collections.abc import Callable

import numpy as np

WordStarts = Callable[[np.ndarray, np.ndarray], np.ndarray]
