"""Chinese words by the method and dictionary of jieba, with any tokenizer.

As NEZHA (Wei et al. 2019, section 3) and BERT-wwm (Cui et al. 2019, section 2.2) mask them, the second with another
segmenter. The segmenter is the package `rjieba`, jieba in Rust. On 10.9 MB of Chinese (a novel, reviews, news) it
starts a word at the same Chinese characters as `jieba` 0.42.1 (`benchmarks/chinese_words.py`). It differs beside rare
characters, those outside U+4E00–U+9FD5, which `jieba` makes words of their own, and in runs of Latin letters and
digits such as 2008-6-1, which play no part here.

The text that is segmented is put together from the tokens, so that normalisation does not matter. A token that begins
with a Chinese character starts a word where the segmenter does; the bytes of a cut character belong to it; all other
tokens are as the vocabulary marks them.
"""

import functools
import hashlib
import importlib.metadata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from configuration import foreign
from configuration.variants import ConfigError
from data_pipeline.tokenizers import Tokenizer
from data_pipeline.words import WordStarts

_PACKAGE = "rjieba"
_TOKENS_AT_ONCE = 1 << 15  # of whole lines: a fifth faster than batches that outgrow a core's cache
_LARGEST = 1 << 28  # bytes of a dictionary


def build(tokenizer: Tokenizer, *, dictionary: str = "", new_words: bool = True) -> WordStarts:
    """Word starts by jieba.

    Args:
      dictionary: a file of jieba's format, one word with its count a line; its own by default.
      new_words: also finds words that the dictionary lacks, by jieba's hidden Markov model.

    Raises:
      ConfigError: the package is not installed, or the dictionary cannot be read.
    """
    _version()
    return _WordStarts(tokenizer, _entries(dictionary) if dictionary else [], new_words)


def depends_on(*, dictionary: str = "", new_words: bool = True) -> dict[str, str]:
    """What the words depend on beside the options: the package's version and the dictionary's contents.

    Raises:
      ConfigError: as `build`.
    """
    del new_words
    facts = {_PACKAGE: _version()}
    if dictionary:
        facts["dictionary"] = hashlib.sha256(_read(dictionary).encode()).hexdigest()
    return facts


def _version() -> str:
    try:
        return importlib.metadata.version(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        remedy = "pip install 'bert_jax[chinese]'"
        raise ConfigError(f"config.data.words is jieba, whose package {_PACKAGE} is not installed: {remedy}") from None


def _read(dictionary: str) -> str:
    return foreign.read_text(Path(dictionary).expanduser(), _option(dictionary), _LARGEST).removeprefix("\ufeff")


def _option(dictionary: str) -> str:
    return f"config.data.words.options.dictionary={dictionary!r}"


def _entries(dictionary: str) -> list[tuple[str, int]]:
    """The words of a dictionary's file with their counts."""
    entries = []
    for number, line in enumerate(_read(dictionary).split("\n"), start=1):
        match line.split():
            case []:
                continue
            case [word, count, *_] if count.isascii() and count.isdecimal() and int(count) < 1 << 48:
                entries.append((word, int(count)))
            case _:
                where = f"{_option(dictionary)} has in line {number} {line!r:.60}"
                raise ConfigError(f"{where}; it must be a word, a space and the word's count")
    if not sum(count for _, count in entries):
        raise ConfigError(f"{_option(dictionary)} has no word with a count above 0; give another or none")
    return entries


class _WordStarts:
    def __init__(self, tokenizer: Tokenizer, entries: list[tuple[str, int]], new_words: bool):
        self._table = tokenizer.word_start
        surfaces = [*tokenizer.surfaces, b"\n"]  # [V + 1]; the last ends a line
        self._line_end = len(surfaces) - 1
        self._surfaces = np.frombuffer(b"".join(surfaces), np.uint8)
        self._sizes = np.array(list(map(len, surfaces)), np.int32)
        self._offsets = np.cumsum(self._sizes, dtype=np.int32) - self._sizes
        self._characters = np.array([sum(map(_is_lead, surface)) for surface in surfaces], np.int32)  # that begin in it
        spaces = np.array([surface.startswith(b" ") for surface in surfaces])
        self._whole = np.array([_is_lead((surface.removeprefix(b" ") or b" ")[0]) for surface in surfaces])
        self._first = (spaces + self._whole - 1).astype(np.int32)  # its first character; 0: the first that begins in it
        self._alone = np.array([surface == b" " for surface in surfaces])
        self._chinese = np.array([max(surface, default=0) >= 0x80 for surface in surfaces[:-1]], bool)
        self._entries, self._new_words = entries, new_words

    @functools.cached_property
    def _cut(self) -> Callable[..., list[str]]:
        import rjieba

        if not self._entries:
            return rjieba.cut
        segmenter: Any = rjieba.Jieba.empty()
        for word, count in self._entries:
            segmenter.add_word(word, count, None)
        return segmenter.cut

    def __call__(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        starts = self._table[tokens]
        line_of = np.repeat(np.arange(len(lengths)), lengths)
        chinese = np.bincount(line_of, self._chinese[tokens], len(lengths)) > 0
        here = np.flatnonzero(chinese[line_of])
        lengths = lengths[chinese].astype(np.int64)
        ends = np.cumsum(lengths)
        for lines in _batches(ends):
            places = here[ends[lines.start] - lengths[lines.start] : ends[lines.stop - 1]]
            starts[places] = self._of_lines(tokens[places], lengths[lines], starts[places])
        return starts

    def _of_lines(self, tokens: np.ndarray, lengths: np.ndarray, table: np.ndarray) -> np.ndarray:
        """bool [n]: the word starts of lines, where the vocabulary has those of `table`."""
        ids = np.insert(tokens.astype(np.int32), np.cumsum(lengths), self._line_end)
        sizes = self._sizes[ids]
        ends = np.cumsum(sizes, dtype=np.int32)
        shift = self._offsets[ids] - (ends - sizes)
        line = self._surfaces[np.repeat(shift, sizes) + np.arange(ends[-1], dtype=np.int32)]
        try:
            text = line.tobytes().decode()
        except UnicodeDecodeError:  # tokens of some line make no text
            return self._of_each_line(tokens, lengths, table)
        words = self._cut(text, self._new_words)
        begins = np.zeros(len(text) + 1, bool)
        begins[np.cumsum(np.fromiter(map(len, words), np.int32, len(words)))] = True
        begins[0] = True
        counts = self._characters[ids]
        characters = np.cumsum(counts, dtype=np.int32) - counts + self._first[ids]
        kept = np.insert(table, np.cumsum(lengths), True)
        starts = np.where(_is_chinese(text)[characters], self._whole[ids] & begins[characters], kept)
        alone = self._alone[ids]  # a space goes with the word after it
        starts[1:] &= ~alone[:-1]
        return (starts | alone)[ids != self._line_end]

    def _of_each_line(self, tokens: np.ndarray, lengths: np.ndarray, table: np.ndarray) -> np.ndarray:
        """As `_of_lines`; a line that is no text stays as the vocabulary has it."""
        if len(lengths) == 1:
            return table
        ends = np.cumsum(lengths)[:-1]
        lines = zip(np.split(tokens, ends), lengths[:, None], np.split(table, ends), strict=True)
        return np.concatenate([self._of_lines(*line) for line in lines])


def _batches(ends: np.ndarray) -> Iterator[slice]:
    """Stretches of lines with at most _TOKENS_AT_ONCE tokens each, unless a single line has more."""
    first = 0
    while first < len(ends):
        most = _TOKENS_AT_ONCE + (int(ends[first - 1]) if first else 0)
        last = max(first + 1, int(np.searchsorted(ends, most, side="right")))
        yield slice(first, last)
        first = last


def _is_lead(byte: int) -> bool:
    """Whether a byte of UTF-8 is the first of a character."""
    return byte & 0xC0 != 0x80


def _is_chinese(text: str) -> np.ndarray:
    """bool [characters]: those that the segmenter joins to words."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return ((codes >= 0x3400) & (codes < 0xA000)) | ((codes >= 0xF900) & (codes < 0xFB00)) | (codes >= 0x20000)
