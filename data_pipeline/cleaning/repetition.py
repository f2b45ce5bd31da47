"""Text that repeats itself: menus, boilerplate, generated pages.

After Gopher's repetition rules (Rae et al. 2021, appendix A.1.1, table A1): the share of characters in lines, and
in runs of n words, that stood in the document before. Of Gopher's ten lengths of runs two are kept, with its
thresholds. Only repetitions are counted, not the first occurrence. In languages without spaces a word is a
character here; two make about one word, so runs are twice as long.
"""

import functools

import numpy as np

from configuration.variants import ConfigError
from data_pipeline.cleaning import Remove
from data_pipeline.cleaning._words import runs_in, words_of

_SHORT, _LONG = 5, 10  # words in a run
_FEW_WORDS = 50  # below, a refrain or a name that comes twice would decide


def build(*, lines: float = 0.2, short_runs: float = 0.15, long_runs: float = 0.1) -> Remove:
    """Shares of a document's characters that are repetition; a document with more goes.

    Args:
      lines: in lines that stood there before; whitespace around a line does not count.
      short_runs: in runs of 5 words that stood there before. Documents below 50 words are spared.
      long_runs: of 10 words, likewise.
    """
    for name, share in {"lines": lines, "short_runs": short_runs, "long_runs": long_runs}.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"config.data.cleaning: repetition.{name}={share} must be a share between 0 and 1")
    return Remove(functools.partial(_reason, lines=lines, short_runs=short_runs, long_runs=long_runs))


def _reason(text: str, *, lines: float, short_runs: float, long_runs: float) -> str:
    if _in_lines_again(text) > lines:
        return "repeated lines"
    words = words_of(text)
    if len(words.hashes) < _FEW_WORDS:
        return ""
    scale = 2 if words.lengths.mean() < 1.5 else 1
    if _in_runs_again(runs_in(text, _LONG * scale), words.lengths, _LONG * scale) > long_runs:
        return "repeated long runs of words"
    if _in_runs_again(runs_in(text, _SHORT * scale), words.lengths, _SHORT * scale) > short_runs:
        return "repeated short runs of words"
    return ""


def _in_lines_again(text: str) -> float:
    """The share of the characters in lines that stood there before."""
    met: set[str] = set()
    total = again = 0
    for line in map(str.strip, text.split("\n")):
        total += len(line)
        again += len(line) if line in met else 0
        met.add(line)
    return again / total if total else 0.0


def _in_runs_again(runs: np.ndarray, lengths: np.ndarray, size: int) -> float:
    """The share of the characters in runs of `size` words that stood there before; `lengths` are the words'."""
    ascending = np.sort(runs)
    if not (ascending[1:] == ascending[:-1]).any():  # most often
        return 0.0
    _, first = np.unique(runs, return_index=True)
    again = np.ones(len(runs), np.int64)
    again[first] = 0
    steps = np.zeros(len(lengths) + 1, np.int64)  # +1 where a repeated run begins, -1 after it ends
    steps[: len(runs)] += again
    steps[size : size + len(runs)] -= again
    return int(lengths[np.cumsum(steps[:-1]) > 0].sum()) / int(lengths.sum())
