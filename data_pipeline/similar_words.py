"""A table of similar words of a store's train split, for replacing words by similar ones.

    python -m data_pipeline.similar_words --store=stores/english --output=stores/similar.npz

Words are similar if they occur among the same words: positive pointwise mutual information with the words around,
reduced by a singular value decomposition, which is what word2vec factorises implicitly (Levy and Goldberg 2014), and
the cosine. Nothing is downloaded, and the same store gives the same table.

The file is NumPy's .npz: `words` int32 [W, M], ids of the pieces of each word, 0 after its last; `sizes` int32 [W], how
many they are; `neighbours` int32 [W, K], rows of words of the same size, the nearest first, -1 where there are fewer;
`plain` bool [V], which pieces have a letter or a digit: the others, punctuation, are words of their own here.
"""

import collections
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from configuration.files import atomic_write
from data_pipeline.annotations._words import marks_of, split_punctuation
from data_pipeline.cooccurrence import factors, information
from data_pipeline.errors import DataError
from data_pipeline.store import Shard, Split, Store
from data_pipeline.store.memory import release

_PIECES = 4  # of a word at most, M
_TOKENS_AT_ONCE = 1 << 21
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Words(NamedTuple):
    """Consecutive words of a shard."""

    keys: np.ndarray  # uint64 [w], a hash of the pieces; 0 where they are too many
    starts: np.ndarray  # int64 [w], the first token of each among `tokens`
    sizes: np.ndarray  # int64 [w], in tokens
    sentences: np.ndarray  # int64 [w], the number of each word's sentence
    tokens: np.ndarray


def words_of(split: Split, plain: np.ndarray) -> Iterator[Words]:
    """The words of a split, some whole sentences at a time."""
    for shard in split.shards:
        offsets = shard.sentence_offsets
        first = 0
        while first < len(offsets) - 1:
            last = int(np.searchsorted(offsets, int(offsets[first]) + _TOKENS_AT_ONCE, side="right")) - 1
            last = min(max(last, first + 1), len(offsets) - 1)
            yield _words(shard, offsets[first : last + 1].astype(np.int64), plain)
            first = last
        release(shard.tokens)


def _words(shard: Shard, offsets: np.ndarray, plain: np.ndarray) -> Words:
    tokens = shard.tokens[offsets[0] : offsets[-1]].astype(np.int64)
    starts = np.flatnonzero(split_punctuation(tokens, shard.annotation("word_starts", offsets[0], offsets[-1]), plain))
    sizes = np.diff(np.append(starts, len(tokens)))
    keys = np.zeros(len(starts), np.uint64)
    for i in range(_PIECES):
        has = sizes > i
        keys[has] = (keys[has] + tokens[starts[has] + i].astype(np.uint64) + np.uint64(1)) * _ODD
        keys ^= keys >> np.uint64(29)
    keys[sizes > _PIECES] = 0
    sentences = np.searchsorted(offsets - offsets[0], starts, side="right")
    return Words(keys, starts, sizes, sentences, tokens)


def similar_words(
    split: Split,
    plain: np.ndarray,
    *,
    most: int,
    least_count: int,
    contexts: int,
    window: int,
    width: int,
    neighbours: int,
    least: float,
) -> dict[str, np.ndarray]:
    """The arrays of the table.

    Args:
      plain: bool [V], which pieces have a letter or a digit.
      most: number of words, the most frequent; at least W.
      least_count: least number of occurrences of a word.
      contexts: number of context words, the most frequent.
      window: words to either side.
      width: of the vectors.
      neighbours: of a word; K.
      least: cosine of a neighbour.
    """
    counts: collections.Counter[int] = collections.Counter()
    for part in words_of(split, plain):
        keys, number = np.unique(part.keys[part.keys > 0], return_counts=True)
        counts.update(dict(zip(keys.tolist(), number.tolist(), strict=True)))
    frequent = np.array([key for key, n in counts.most_common(most) if n >= least_count], np.uint64)
    if len(frequent) < 2:
        raise DataError("fewer than two words occur often enough; give a smaller --least_count or more text")
    together, pieces = _company(words_of(split, plain), frequent, min(contexts, len(frequent)), window)
    vectors = _vectors(together, width)
    sizes = (pieces >= 0).sum(1)
    found = np.full((len(frequent), neighbours), -1, np.int32)
    for size in np.unique(sizes):
        of_size = np.flatnonzero(sizes == size)
        found[of_size] = _nearest(vectors[of_size], of_size, neighbours, least)
    return {
        "words": np.maximum(pieces, 0).astype(np.int32),
        "sizes": sizes.astype(np.int32),
        "neighbours": found,
        "plain": plain,
    }


def _company(parts: Iterator[Words], frequent: np.ndarray, contexts: int, window: int) -> tuple[Any, np.ndarray]:
    """How often each word stands near each context, sparse [W, C], and the words' pieces, int64 [W, M], -1 for none."""
    import scipy.sparse

    order = np.argsort(frequent)
    ordered = frequent[order]
    pieces = np.full((len(frequent), _PIECES), -1, np.int64)
    total = scipy.sparse.csr_matrix((len(frequent), contexts), dtype=np.float64)
    for part in parts:
        place = np.minimum(np.searchsorted(ordered, part.keys), len(ordered) - 1)
        number = np.where(ordered[place] == part.keys, order[place], -1)
        _note_pieces(pieces, part, number)
        for distance in range(1, window + 1):
            same = part.sentences[distance:] == part.sentences[:-distance]
            left, right = number[:-distance][same], number[distance:][same]
            for word, context in ((left, right), (right, left)):
                met = (word >= 0) & (context >= 0) & (context < contexts)
                ones = np.ones(met.sum())
                total += scipy.sparse.csr_matrix((ones, (word[met], context[met])), total.shape)
    return total, pieces


def _note_pieces(pieces: np.ndarray, part: Words, number: np.ndarray) -> None:
    known = np.flatnonzero(number >= 0)
    _, first = np.unique(number[known], return_index=True)
    for word in known[first]:
        if pieces[number[word], 0] < 0:
            start, size = part.starts[word], part.sizes[word]
            pieces[number[word], :size] = part.tokens[start : start + size]


def _vectors(together: Any, width: int) -> np.ndarray:
    """float64 [W, width], of length 1 or 0: the words by their positive mutual information with the contexts."""
    vectors = factors(information(together), width)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _nearest(vectors: np.ndarray, numbers: np.ndarray, neighbours: int, least: float) -> np.ndarray:
    """int32 [w, K]: of the words `numbers` the nearest others by the cosine, -1 where fewer reach `least`."""
    found = np.full((len(vectors), neighbours), -1, np.int32)
    kept = min(neighbours, len(vectors) - 1)
    if kept < 1:
        return found
    for first in range(0, len(vectors), 1024):
        cosines = vectors[first : first + 1024] @ vectors.T
        rows = np.arange(len(cosines))
        cosines[rows, first + rows] = -2  # the word itself
        nearest = np.argpartition(-cosines, kept - 1, axis=1)[:, :kept]
        nearest = nearest[rows[:, None], np.argsort(-cosines[rows[:, None], nearest], axis=1, kind="stable")]
        enough = cosines[rows[:, None], nearest] >= least
        found[first : first + 1024, :kept] = np.where(enough, numbers[nearest], -1)
    return found


def define_flags() -> None:
    """--store, --output and what `similar_words` takes"""
    flags.DEFINE_string("store", None, "Folder of the store, local or remote.", required=True)
    flags.DEFINE_string("output", None, "The file that is written, such as stores/similar.npz.", required=True)
    flags.DEFINE_integer("most", 50_000, "Number of words, the most frequent.", lower_bound=2)
    flags.DEFINE_integer("least_count", 50, "Least number of occurrences of a word.", lower_bound=1)
    flags.DEFINE_integer("contexts", 5_000, "Number of context words, the most frequent.", lower_bound=2)
    flags.DEFINE_integer("window", 3, "Words to either side.", lower_bound=1)
    flags.DEFINE_integer("width", 100, "Of the vectors.", lower_bound=1)
    flags.DEFINE_integer("neighbours", 10, "Of a word.", lower_bound=1)
    flags.DEFINE_float("least", 0.4, "Least cosine of a neighbour.")
    flags.DEFINE_integer("shown", 12, "Words that are printed with their neighbours.", lower_bound=0)


def main() -> dict[str, Any]:
    """The command: writes the table and prints some words with their neighbours."""
    given = flags.FLAGS
    store = Store.open(given.store)
    names = ("most", "least_count", "contexts", "window", "width", "neighbours", "least")
    options = {name: getattr(given, name) for name in names}
    table: dict[str, Any] = similar_words(store.split("train"), marks_of(store.tokenizer).plain, **options)
    with atomic_write(Path(given.output)) as file:
        np.savez(file, **table)
    text = lambda word: store.tokenizer.decode(table["words"][word, : table["sizes"][word]])
    for word in range(0, len(table["words"]), max(1, len(table["words"]) // max(1, given.shown)))[: given.shown]:
        print(f"{text(word):>16}  {', '.join(text(other) for other in table['neighbours'][word] if other >= 0)}")
    have = float((table["neighbours"][:, 0] >= 0).mean())
    print(f"{given.output}: {len(table['words']):,} words, {have:.0%} of them with similar ones")
    return {"words": len(table["words"]), "with_neighbours": have}


if __name__ == "__main__":
    from configuration import cli

    cli.run(main, define_flags)
