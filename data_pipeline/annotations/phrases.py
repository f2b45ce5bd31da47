"""Phrases, or entities, of a list: runs of words that stand in a file, one phrase a line.

For masking phrases whole (ERNIE 1.0, Sun et al. 2019, arXiv 1904.09223, section 3.2, which had an analyser). The list
may be anybody's; `python -m data_pipeline.frequent_phrases` makes one from a store by mutual information.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from configuration.variants import ConfigError
from data_pipeline.annotations import Annotate
from data_pipeline.annotations._words import Words, join, keys_of, marks_of, split_punctuation, words_of
from data_pipeline.tokenizers import Tokenizer


def build(tokenizer: Tokenizer, *, file: str = "") -> Annotate:
    """Unit starts: of each phrase, from the left the longest that stands there, and of each word outside phrases.

    Args:
      file: the list, in UTF-8; a phrase has at least two words, and no punctuation.

    Raises:
      ConfigError: there is no such file, or no phrase in it.
    """
    find = finder(tokenizer, file, "phrases.file")

    def annotate(tokens: np.ndarray, lengths: np.ndarray, word_starts: np.ndarray) -> np.ndarray:
        words, inner = find(tokens, lengths, word_starts)
        first_inside = np.zeros(len(tokens), bool)
        first_inside[words.starts[inner]] = True
        begins, after = np.zeros(len(tokens), bool), np.zeros(len(tokens) + 1, bool)
        follows = np.append(inner[1:], False)
        begins[words.starts[follows & ~inner]] = True
        after[np.append(words.starts[1:], len(tokens))[inner & ~follows]] = True
        return join(word_starts, begins, first_inside, after[:-1])

    return annotate


def finder(
    tokenizer: Tokenizer, file: str, field: str
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[Words, np.ndarray]]:
    """What finds a list's phrases in text, given as an annotation's function gets it.

    It gives the words, and bool [w], which of them go on with a phrase.

    Raises:
      ConfigError: as `build`, of the annotations' option `field`.
    """
    remedy = "python -m data_pipeline.frequent_phrases writes one from a store"
    if not file or not Path(file).is_file():
        raise ConfigError(f"config.data.annotations.{field} is {file!r}, which is no file; {remedy}")
    marks = marks_of(tokenizer)
    lines = Path(file).read_text(encoding="utf-8").split("\n")
    known = _keys(tokenizer, [line for line in lines if len(line.split()) > 1], marks.plain)
    if not known:
        raise ConfigError(f"config.data.annotations.{field}={file} has no line of two words or more; {remedy}")

    def find(tokens: np.ndarray, lengths: np.ndarray, word_starts: np.ndarray) -> tuple[Words, np.ndarray]:
        words = words_of(tokens, lengths, split_punctuation(tokens, word_starts, marks.plain), marks.plain)
        best = np.ones(len(words.keys), np.int64)  # words of the longest phrase from each word on
        for size, keys in known.items():
            found, usable = keys_of(words, size)
            place = np.minimum(np.searchsorted(keys, found), len(keys) - 1)
            best[: len(found)] = np.where(usable & (keys[place] == found), size, best[: len(found)])
        return words, _inner(best)

    return find


def _keys(tokenizer: Tokenizer, phrases: list[str], plain: np.ndarray) -> dict[int, np.ndarray]:
    """The keys of phrases by their number of words, rising; those that hold punctuation are left out."""
    if not phrases:
        return {}
    tokens, lengths = tokenizer.encode_lines(phrases)
    starts = split_punctuation(tokens, tokenizer.word_start[tokens], plain)
    starts[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
    words = words_of(tokens, lengths, starts, plain)
    counts = np.bincount(words.sentences, minlength=len(phrases) + 1)
    first = np.cumsum(counts) - counts
    found = {}
    for size in sorted(set(counts[counts > 1].tolist())):
        keys, usable = keys_of(words, size)
        at = first[counts == size]
        found[size] = np.unique(keys[at][usable[at]])
    return {size: keys for size, keys in found.items() if keys.size}


def _inner(best: np.ndarray) -> np.ndarray:
    """bool [w]: words that go on with a phrase, where phrases of `best` words are taken from the left."""
    inner, end = np.zeros(len(best), bool), 0
    for word in np.flatnonzero(best > 1).tolist():
        if word >= end:
            end = word + int(best[word])
            inner[word + 1 : end] = True
    return inner
