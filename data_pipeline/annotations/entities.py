"""Names and their kinds, for text in which some are replaced by others (WKLM, Xiong et al. 2019, arXiv 1912.09637).

A name is a run of capitalised words, as in capitals.py, of kind 1, or what stands in a list, whose kind is the list's.
"""

import numpy as np

from configuration.variants import ConfigError
from data_pipeline.annotations import Annotate, capitals, phrases
from data_pipeline.annotations._words import marks_of, split_punctuation
from data_pipeline.tokenizers import Tokenizer

MOST_KINDS = 127


def build(tokenizer: Tokenizer, *, most: int = 6, lists: tuple[str, ...] = ()) -> Annotate:
    """A label of each token: 2k − 1 for the first one of a name of kind k, 2k for its others, 0 outside names.

    Args:
      most: words in a name by capitals; longer runs are parted.
      lists: files of names, as phrases.py reads them, one of each further kind, from 2 on. They go before capitals, and
        the later ones before the earlier.

    Raises:
      ConfigError: a vocabulary without capitals, too many lists, or one that cannot be read.
    """
    if len(lists) >= MOST_KINDS:
        raise ConfigError(
            f"config.data.annotations.entities.lists has {len(lists)} files; it may have {MOST_KINDS - 1}"
        )
    marks, runs = marks_of(tokenizer), capitals.finder(tokenizer, most, "entities")
    finders = [phrases.finder(tokenizer, file, f"entities.lists.{number}") for number, file in enumerate(lists)]
    letters = np.array([len(surface.decode("utf-8", "replace").strip()) for surface in tokenizer.surfaces])

    def annotate(tokens: np.ndarray, lengths: np.ndarray, word_starts: np.ndarray) -> np.ndarray:
        words = split_punctuation(tokens, word_starts, marks.plain)
        found = runs(tokens, lengths, word_starts)
        follows = np.append(found.goes_on[1:], False)
        sizes = np.diff(np.append(found.firsts, len(tokens)))
        letter = (sizes == 1) & (letters[tokens[found.firsts]] == 1)  # such as I
        heads = found.capital & ~found.goes_on & (follows | ~(found.opens | letter))
        labels = np.zeros(len(tokens), np.uint8)
        _mark(labels, words, heads, found.goes_on, kind=1)
        for kind, find in enumerate(finders, 2):
            _, inner = find(tokens, lengths, word_starts)
            _mark(labels, words, np.append(inner[1:], False) & ~inner, inner, kind)
        return labels

    return annotate


def depends_on(*, most: int = 6, lists: tuple[str, ...] = ()) -> dict[str, str]:
    """Hashes of the lists. Raises as `build`."""
    del most
    return {f"lists.{number}": phrases.list_hash(file, f"entities.lists.{number}") for number, file in enumerate(lists)}


def _mark(labels: np.ndarray, words: np.ndarray, heads: np.ndarray, inner: np.ndarray, kind: int) -> None:
    """Labels names of a kind, replacing names that they overlap.

    Args:
      labels: uint8 [n], changed.
      words: bool [n], where words start.
      heads, inner: bool [w], the words that begin names and those that go on with them.
    """
    word = np.maximum(np.cumsum(words) - 1, 0)
    there = (heads | inner)[word]
    name = np.cumsum(labels % 2)  # the number of the name so far, for tokens in one
    labels[(labels > 0) & np.isin(name, name[there & (labels > 0)])] = 0
    labels[there] = 2 * kind
    labels[heads[word] & words] = 2 * kind - 1
