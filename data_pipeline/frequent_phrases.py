"""A list of phrases of a store's train split, for data_pipeline/annotations/phrases.py.

    python -m data_pipeline.frequent_phrases --store=stores/english --output=phrases.txt

A run of words is a phrase if it occurs often enough and its words stand together more often than by chance: by their
normalised mutual information (Bouma 2009), log(p(run) / product of p(word)) / (−(n − 1) log p(run)), 0 for chance and 1
for words that are never apart. Nothing is downloaded, and the same store gives the same list.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from configuration.files import atomic_write
from data_pipeline.annotations._words import Words, keys_of, marks_of, split_punctuation, words_of
from data_pipeline.errors import DataError
from data_pipeline.store import Store
from data_pipeline.store.memory import release

_TOKENS_AT_ONCE = 1 << 21


class Counts(NamedTuple):
    """How often each of some runs of words occurs."""

    keys: np.ndarray  # uint64, rising
    numbers: np.ndarray  # int64

    def of(self, keys: np.ndarray) -> np.ndarray:
        """int64: the numbers of these keys, 0 for others."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.numbers[place], 0)


def frequent_phrases(store: Store, *, longest: int, least_count: int, least: float) -> list[tuple[str, int, float]]:
    """Phrases with their counts and normalised mutual information, the most frequent first.

    Args:
      longest: words of a phrase.
      least_count: least number of occurrences.
      least: normalised mutual information.
    """
    marks = marks_of(store.tokenizer)
    counts = {1: _count(store, marks.plain, 1, None, least_count)}
    total = max(1, int(counts[1].numbers.sum()))
    found: list[tuple[str, int, float]] = []
    for size in range(2, longest + 1):
        counts[size] = _count(store, marks.plain, size, counts[size - 1], least_count)
        for text, number, of_words in _examples(store, marks.plain, size, counts):
            chance = np.log(of_words / total).sum()
            score = (np.log(number / total) - chance) / (-(size - 1) * np.log(number / total))
            if score >= least:
                found.append((text, number, float(score)))
    return sorted(found, key=lambda each: (-each[1], each[0]))


def _parts(store: Store, plain: np.ndarray) -> Iterator[tuple[np.ndarray, Words]]:
    """Some whole sentences at a time: tokens and words."""
    for shard in store.split("train").shards:
        offsets, first = shard.sentence_offsets, 0
        while first < len(offsets) - 1:
            last = int(np.searchsorted(offsets, int(offsets[first]) + _TOKENS_AT_ONCE, side="right")) - 1
            last = min(max(last, first + 1), len(offsets) - 1)
            begin, end = int(offsets[first]), int(offsets[last])
            tokens = shard.tokens[begin:end].astype(np.int64)
            starts = split_punctuation(tokens, shard.annotation("word_starts", begin, end), plain)
            yield tokens, words_of(tokens, np.diff(offsets[first : last + 1].astype(np.int64)), starts, plain)
            first = last
        release(shard.tokens)


def _count(store: Store, plain: np.ndarray, size: int, shorter: Counts | None, least: int) -> Counts:
    """The runs of `size` words that occur `least` times or more (single words: all); their own runs must be too."""
    keys, numbers = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    for _, words in _parts(store, plain):
        runs, usable = keys_of(words, size)
        if shorter is not None:
            inner, _ = keys_of(words, size - 1)
            frequent = shorter.of(inner) >= least
            usable &= frequent[: len(runs)] & frequent[1 : len(runs) + 1]
        new, met = np.unique(runs[usable], return_counts=True)
        keys, place = np.unique(np.concatenate([keys, new]), return_inverse=True)
        numbers = np.bincount(place, np.concatenate([numbers, met]), len(keys)).astype(np.int64)
    kept = numbers >= (least if shorter is not None else 1)
    return Counts(keys[kept], numbers[kept])


def _examples(
    store: Store, plain: np.ndarray, size: int, counts: dict[int, Counts]
) -> Iterator[tuple[str, int, np.ndarray]]:
    """The text of each frequent run, its count, and those of its words [size]."""
    seen: set[int] = set()
    surfaces = store.tokenizer.surfaces  # what `decode` gives has spaces between Chinese characters
    for tokens, words in _parts(store, plain):
        runs, usable = keys_of(words, size)
        numbers = np.where(usable, counts[size].of(runs), 0)
        keys, first = np.unique(np.where(numbers > 0, runs, 0), return_index=True)
        ends = np.append(words.starts, len(tokens))
        alone = words_alone(words)
        for key, at in zip(keys.tolist(), first.tolist(), strict=True):
            if numbers[at] and key not in seen:
                seen.add(key)
                of_words = counts[1].of(alone[at : at + size])
                text = b"".join(surfaces[token] for token in tokens[ends[at] : ends[at + size]].tolist())
                yield text.decode("utf-8", "replace").strip(), int(numbers[at]), of_words.astype(np.float64)


def words_alone(words: Words) -> np.ndarray:
    """uint64 [w]: the keys of single words, as they are counted."""
    return keys_of(words, 1)[0]


def define_flags() -> None:
    """--store, --output and what `frequent_phrases` takes"""
    flags.DEFINE_string("store", None, "Folder of the store, local or remote.", required=True)
    flags.DEFINE_string("output", None, "The list that is written.", required=True)
    flags.DEFINE_integer("longest", 4, "Most words in a phrase.", lower_bound=2)
    flags.DEFINE_integer("least_count", 20, "Least number of occurrences of a phrase.", lower_bound=2)
    flags.DEFINE_float("least", 0.4, "Normalised mutual information of its words, 0 for chance, 1 where never apart.")


def main() -> dict[str, Any]:
    """The command: writes the list and prints the most frequent phrases."""
    given = flags.FLAGS
    found = frequent_phrases(
        Store.open(given.store), longest=given.longest, least_count=given.least_count, least=given.least
    )
    if not found:
        raise DataError(f"{given.store} has no phrase with --least_count={given.least_count} --least={given.least}")
    with atomic_write(Path(given.output)) as file:
        file.write("".join(f"{text}\n" for text, _, _ in found).encode())
    for text, number, score in found[:20]:
        print(f"{number:>9,}  {score:.2f}  {text}")
    print(f"{given.output}: {len(found):,} phrases")
    return {"phrases": len(found), "occurrences": sum(number for _, number, _ in found)}


if __name__ == "__main__":
    from configuration import cli

    cli.run(main, define_flags)
