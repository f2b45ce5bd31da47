"""Which characters, and which words, the pieces of a text come from: for every kind of tokenizer.

Offsets are in characters of the text as it is given, before normalisation, lower-casing and stripping of accents. The
`tokenizers` library follows each character through its steps; here white space is taken off both ends, where kinds
differ: a piece has the offsets of its visible text.

- A character that becomes several pieces (a byte-level "é", "½" as "1", "⁄", "2") is where each of them stands.
- An accent that is taken off, or a control character, belongs to no piece.
- The piece of a space alone ("▁", "Ġ") stands, without length, before what follows; where a tokenizer adds a space that
  the text lacks, it stands on the first character.
- An unknown piece stands on all the text that it stands for.
"""

from collections.abc import Sequence

import numpy as np

from configuration.variants import ConfigError
from data_pipeline.tokenizers import Tokenizer


def encode_with_offsets(tokenizer: Tokenizer, text: str) -> tuple[list[int], np.ndarray]:
    """The ids of a text, as `tokenizer.encode` gives them, and where each piece stands.

    Returns:
      ids, and offsets int64 [n, 2]: the first character, and the one after the last; both are the same where a piece
      has no visible text.
    """
    ids, offsets = tokenizer.encode_with_offsets(text)
    trimmed = [_without_spaces(text, start, end) for start, end in offsets]
    return ids, np.array(trimmed, np.int64).reshape(-1, 2)


def _without_spaces(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def encode_words(tokenizer: Tokenizer, words: Sequence[str], joiner: str = " ") -> tuple[list[int], np.ndarray]:
    """The ids of a sentence that is given as words, and the word that each piece belongs to.

    The ids are those of the whole sentence. A piece belongs to the word of its first visible character, a space alone
    to the word after it. So a piece over several words, as some tokenizers have where nothing stands between words,
    belongs to the first of them, and the others may have no piece; nor has a word that normalisation removes, such as
    "" or a control character. Their tags cannot be trained, and their predictions are the caller's to choose.

    Args:
      joiner: what stands between two words: a space, or "" for Chinese and other languages without spaces.

    Returns:
      ids, and the number of the word, from 0, int64 [n]; it never falls.

    Raises:
      ConfigError: `joiner` is no white space.
    """
    if joiner.strip():
        raise ConfigError(f"joiner={joiner!r} is text; give ' ', or '' where no spaces stand between words")
    lengths = np.array([len(word) for word in words], np.int64)
    ends = np.cumsum(lengths + len(joiner)) - len(joiner)
    ids, offsets = encode_with_offsets(tokenizer, joiner.join(words))
    # The library has a space that RoBERTa's kind adds after a special token stand behind the character after it.
    starts = np.minimum.accumulate(offsets[::-1, 0])[::-1]
    return ids, np.minimum(np.searchsorted(ends, starts, side="right"), len(words) - 1)
