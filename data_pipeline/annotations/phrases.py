"""Phrases, or entities, of a list: runs of words that stand in a file, one phrase a line.

For masking phrases whole (ERNIE 1.0, Sun et al. 2019, arXiv 1904.09223, section 3.2, which had an analyser). The list
may come from anywhere; `python -m data_pipeline.frequent_phrases` makes one from a store by mutual information.

A phrase is found by its text, wherever words of the store make it up: the words are those of `config.data.words`, so
that Chinese is found as it is segmented there, and the list has no need to say where its words end.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from configuration.variants import ConfigError
from data_pipeline.annotations import Annotate
from data_pipeline.annotations._words import join, marks_of, split_punctuation
from data_pipeline.tokenizers import Tokenizer

# Finds the words of text that is given as an annotation's function gets it: their first tokens, int64 [w], and which
# of them continue a phrase, bool [w].
Find = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

_REMEDY = "python -m data_pipeline.frequent_phrases writes one from a store"
_CHINESE = "[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_BETWEEN_CHINESE = re.compile(f"(?<={_CHINESE})\\s+(?={_CHINESE})")
_SEVERAL_WORDS = re.compile(f"\\S\\s+\\S|{_CHINESE}.*{_CHINESE}")
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_INVERSE = pow(_BASE, -1, 1 << 64)


def build(tokenizer: Tokenizer, *, file: str = "") -> Annotate:
    """Unit starts: of each phrase, from the left the longest that stands there, and of each word outside phrases.

    Args:
      file: the list, in UTF-8; a phrase has at least two words, or Chinese characters, and no punctuation.

    Raises:
      ConfigError: there is no such file, or no phrase in it.
    """
    return unit_starts(tokenizer, file, "phrases.file")


def depends_on(*, file: str = "") -> dict[str, str]:
    """A hash of the list.

    Raises:
      ConfigError: there is no such file.
    """
    return {"file": list_hash(file, "phrases.file")}


def list_hash(file: str, field: str) -> str:
    """SHA-256 of a list, in hexadecimal. Raises as `depends_on`, of the annotations' option `field`."""
    return hashlib.sha256(_read(file, field)).hexdigest()


def _read(file: str, field: str) -> bytes:
    if not file or not Path(file).is_file():
        raise ConfigError(f"config.data.annotations.{field} is {file!r}, which is no file; {_REMEDY}")
    return Path(file).read_bytes()


def unit_starts(tokenizer: Tokenizer, file: str, field: str) -> Annotate:
    """As `build`, for the annotations' option `field`."""
    find = finder(tokenizer, file, field)

    def annotate(tokens: np.ndarray, lengths: np.ndarray, word_starts: np.ndarray) -> np.ndarray:
        firsts, inner = find(tokens, lengths, word_starts)
        first_inside = np.zeros(len(tokens), bool)
        first_inside[firsts[inner]] = True
        begins, after = np.zeros(len(tokens), bool), np.zeros(len(tokens) + 1, bool)
        follows = np.append(inner[1:], False)
        begins[firsts[follows & ~inner]] = True
        after[np.append(firsts[1:], len(tokens))[inner & ~follows]] = True
        return join(word_starts, begins, first_inside, after[:-1])

    return annotate


def finder(tokenizer: Tokenizer, file: str, field: str) -> Find:
    """What finds a list's phrases in text.

    Raises:
      ConfigError: as `build`, of the annotations' option `field`.
    """
    try:
        lines = _read(file, field).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        option = f"config.data.annotations.{field}={file}"
        raise ConfigError(f"{option} is not UTF-8: byte at offset {error.start}; {_REMEDY}") from None
    listed = [_BETWEEN_CHINESE.sub("", line) for line in lines if _SEVERAL_WORDS.search(line)]
    if not listed:
        raise ConfigError(f"config.data.annotations.{field}={file} has no line of two words or more; {_REMEDY}")
    marks, phrases = marks_of(tokenizer), _Phrases(tokenizer, listed)

    def find(tokens: np.ndarray, lengths: np.ndarray, word_starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        firsts = np.flatnonzero(split_punctuation(tokens, word_starts, marks.plain))
        usable = marks.plain[tokens[firsts]]
        sentences = np.searchsorted(np.cumsum(lengths), firsts, side="right")
        return firsts, _inner(phrases.words_of_longest(tokens, firsts, usable, sentences))

    return find


class _Texts(NamedTuple):
    """Hashes of t pieces of text: the sum over their bytes of a number for the byte, times _BASE ** its index."""

    hashes: np.ndarray  # uint64 [t]
    sizes: np.ndarray  # int64 [t], in bytes
    spaced: np.ndarray  # bool [t], begin with a space

    def stripped(self) -> "_Texts":
        """Without the space that some begin with."""
        space = np.where(self.spaced, _of_bytes()[ord(" ")], np.uint64(0))
        hashes = np.where(self.spaced, (self.hashes - space) * np.uint64(_INVERSE), self.hashes)
        return _Texts(hashes, self.sizes - self.spaced, np.zeros(len(hashes), bool))


class _Phrases:
    """The phrases of a list, known by the hashes of their text as the tokenizer normalises it."""

    def __init__(self, tokenizer: Tokenizer, listed: list[str]):
        tokens, lengths = tokenizer.encode_lines(listed)
        self._pieces = _hashed(tokenizer.surfaces)
        firsts = (np.cumsum(lengths) - lengths)[lengths > 0].astype(np.int64)
        ends = np.cumsum(self._pieces.sizes[tokens])
        self._longest = int(np.diff(ends[np.append(firsts[1:], len(tokens)) - 1], prepend=0).max(initial=0))  # bytes
        texts = self._texts(tokens, firsts).stripped()
        self._keys = np.unique(texts.hashes)
        self._likely = np.zeros(1 << 20, bool)  # by the hash's first bits, which most other runs fail by
        self._likely[self._keys >> np.uint64(44)] = True

    def _texts(self, tokens: np.ndarray, firsts: np.ndarray) -> _Texts:
        """The texts that begin at the tokens `firsts`; the hashes of those longer than a phrase mean nothing."""
        if not len(firsts):
            return _Texts(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, bool))
        sizes = self._pieces.sizes[tokens]
        begins = np.cumsum(sizes) - sizes
        spans = np.diff(np.append(firsts, len(tokens)))
        inside = begins[firsts[0] :] - np.repeat(begins[firsts], spans)
        places = _powers(self._longest + 1)[np.minimum(inside, self._longest + 1)]
        hashes = np.add.reduceat(self._pieces.hashes[tokens[firsts[0] :]] * places, firsts - firsts[0])
        ends = np.append(begins[firsts[1:]], begins[-1] + sizes[-1])
        return _Texts(hashes, ends - begins[firsts], self._pieces.spaced[tokens[firsts]])

    def words_of_longest(
        self, tokens: np.ndarray, firsts: np.ndarray, usable: np.ndarray, sentences: np.ndarray
    ) -> np.ndarray:
        """int64 [w]: of how many words is the longest phrase that begins with each word; 1 where there is none.

        Args:
          tokens: [n] of all words.
          firsts: [w] the words' first tokens.
          usable: bool [w], may be in a phrase.
          sentences: int [w], the number of each word's sentence, which no phrase goes beyond.
        """
        best, powers = np.ones(len(firsts), np.int64), _powers(self._longest)
        words = self._texts(tokens, firsts)
        keys, sizes, _ = words.stripped()
        begin = np.flatnonzero(usable[:-1] & (sizes[:-1] <= self._longest))
        keys, sizes, count = keys[begin], sizes[begin], 1
        while len(begin):
            last = begin + count
            total = sizes + words.sizes[last]
            goes_on = usable[last] & (sentences[last] == sentences[begin]) & (total <= self._longest)
            begin, last, keys, sizes, total = (of[goes_on] for of in (begin, last, keys, sizes, total))
            keys, sizes, count = keys + powers[sizes] * words.hashes[last], total, count + 1
            best[begin[self._has(keys)]] = count
            more = last + 1 < len(firsts)
            begin, keys, sizes = begin[more], keys[more], sizes[more]
        return best

    def _has(self, keys: np.ndarray) -> np.ndarray:
        found = self._likely[keys >> np.uint64(44)]
        found[found] = np.isin(keys[found], self._keys)
        return found


def _of_bytes() -> np.ndarray:
    """uint64 [256]: a number for each byte."""
    return np.random.default_rng(0).integers(1, 1 << 64, 256, np.uint64)


def _powers(most: int) -> np.ndarray:
    """uint64 [most + 1]: those of _BASE."""
    return np.multiply.accumulate(np.array([1, *[_BASE] * most], np.uint64))


def _hashed(surfaces: list[bytes]) -> _Texts:
    """Hashes each text separately."""
    sizes = np.array(list(map(len, surfaces)), np.int64)
    ends = np.cumsum(sizes)
    inside = np.arange(sizes.sum()) - np.repeat(ends - sizes, sizes)
    of_bytes = _of_bytes()[np.frombuffer(b"".join(surfaces), np.uint8)] * _powers(int(np.max(sizes)))[inside]
    until = np.cumsum(np.append(np.uint64(0), of_bytes))
    spaced = np.array([surface.startswith(b" ") for surface in surfaces], bool)
    return _Texts(until[ends] - until[ends - sizes], sizes, spaced)


def _inner(best: np.ndarray) -> np.ndarray:
    """bool [w]: words that continue a phrase, where phrases of `best` words are taken from the left."""
    inner, end = np.zeros(len(best), bool), 0
    for word in np.flatnonzero(best > 1).tolist():
        if word >= end:
            end = word + int(best[word])
            inner[word + 1 : end] = True
    return inner
