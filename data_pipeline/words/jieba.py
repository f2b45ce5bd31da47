"""Chinese words as the segmenter `jieba` finds them, with any tokenizer.

As NEZHA (Wei et al. 2019, section 3) and BERT-wwm (Cui et al. 2019, section 2.2) mask them, the second with another
segmenter. The text that is segmented is put together from the tokens, so that normalisation plays no part. A
token that begins with a Chinese character starts a word where jieba does; the bytes of a cut character
belong to it; all other tokens are as the vocabulary marks them.
"""

import functools
import importlib.util
from typing import Any

import numpy as np

from configuration.variants import ConfigError
from data_pipeline.tokenizers import Tokenizer
from data_pipeline.words import WordStarts

_LEAD, _INSIDE = 1, 2  # the first byte of a Chinese character, and the others


def build(tokenizer: Tokenizer, *, dictionary: str = "", new_words: bool = True) -> WordStarts:
    """Word starts by jieba.

    Args:
      dictionary: a file of jieba's format, one word with its count a line; its own by default.
      new_words: also finds words that the dictionary lacks, by jieba's hidden Markov model.

    Raises:
      ConfigError: the package is not installed.
    """
    if importlib.util.find_spec("jieba") is None:
        raise ConfigError("config.data.words is jieba, which is not installed: pip install 'bert_jax[chinese]'")
    return _WordStarts(tokenizer, dictionary, new_words)


class _WordStarts:
    def __init__(self, tokenizer: Tokenizer, dictionary: str, new_words: bool):
        self._table = tokenizer.word_start
        self._surfaces = tokenizer.surfaces
        self._chinese = np.array([max(map(_is_high, surface), default=False) for surface in self._surfaces], bool)
        self._dictionary, self._new_words = dictionary, new_words

    @functools.cached_property
    def _segmenter(self) -> Any:
        import jieba

        segmenter = jieba.Tokenizer(self._dictionary or None)
        # What `initialize` does, without a cache file in a folder that other users can write.
        segmenter.FREQ, segmenter.total = segmenter.gen_pfdict(segmenter.get_dict_file())
        segmenter.initialized = True
        return segmenter

    def __call__(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        starts = self._table[tokens]
        ends = np.cumsum(lengths)
        for line in np.unique(np.searchsorted(ends, np.flatnonzero(self._chinese[tokens]), side="right")).tolist():
            here = slice(ends[line] - lengths[line], ends[line])
            starts[here] = self._of_line(tokens[here].tolist(), starts[here])
        return starts

    def _of_line(self, tokens: list[int], table: np.ndarray) -> np.ndarray:
        surfaces = [self._surfaces[token] for token in tokens]
        line = b"".join(surfaces)
        text = line.decode("utf-8", "replace")
        if len(text.encode()) != len(line):  # tokens that make no text
            return table
        begins = np.zeros(len(line) + 1, bool)
        words = self._segmenter.cut(text, HMM=self._new_words)
        begins[np.cumsum([0, *(len(word.encode()) for word in words)])] = True
        kinds = _kinds(text)
        spaces = np.array([surface.startswith(b" ") for surface in surfaces])
        places = np.cumsum([0, *map(len, surfaces[:-1])]) + spaces
        starts = np.where(kinds[places] == _LEAD, begins[places], table & (kinds[places] != _INSIDE))
        alone = np.array([surface == b" " for surface in surfaces])  # a space goes with the word after it
        starts[1:] &= ~alone[:-1]
        return starts | alone


def _is_high(byte: int) -> bool:
    return byte >= 0x80


def _kinds(text: str) -> np.ndarray:
    """uint8 [bytes + 1]: where in UTF-8 Chinese characters begin and go on."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    widths = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
    chinese = ((codes >= 0x3400) & (codes < 0xA000)) | ((codes >= 0xF900) & (codes < 0xFB00)) | (codes >= 0x20000)
    kinds = np.repeat(np.where(chinese, _INSIDE, 0), widths).astype(np.uint8)
    kinds[(np.cumsum(widths) - widths)[chinese]] = _LEAD
    return np.append(kinds, np.uint8(0))
