"""Pieces that a tokenizer learns beside its own, from a text of another kind than it was made for; its ids stay.

Training continues as in BPE, whatever the kind of tokenizer: the most frequent pair of neighbouring pieces is merged
into a new piece, again and again. In BPE itself each new piece is one more merge; whole words that are appended
instead may never be used, because no merges lead to them (Purason et al. 2025, arXiv 2512.03989). WordPiece uses a new
piece where it is the longest match. In a unigram model its score is the logarithm of its share of the text's pieces,
and at least a little above the sum of the two that it replaces.
"""

import collections
import heapq
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from configuration.foreign import FormatError
from data_pipeline.errors import DataError
from data_pipeline.tokenizers import Tokenizer, WordCounts
from data_pipeline.tokenizers._training import CROSSES_RUNS, LEAST_COUNT, LONGEST_PIECE, SCORE_STEP, words_to_learn

Pair = tuple[str, str]
_LEAST_MORE = 1e-3  # nat, by which a piece of a unigram model is above the two that it replaces


class Merge(NamedTuple):
    """A new piece."""

    piece: str
    pair: Pair  # that it is made of
    share: float  # of the text's pieces, when it was learnt


def extended(tokenizer: Tokenizer, word_counts: WordCounts, number: int) -> Tokenizer:
    """The tokenizer with `number` more pieces, whose ids follow its own.

    Raises:
      DataError: the text does not support so many.
      FormatError: a unigram model whose special tokens are no part of its vocabulary.
    """
    definition = json.loads(tokenizer.definition)
    mark = continuation(definition)
    found = learn(cut_words(tokenizer, word_counts(), mark), tokenizer.vocabulary, number, mark)
    if len(found) < number:
        option = f"config.data.tokenizer.options.new_pieces={number}"
        raise DataError(f"{option} is more than the text supports; the largest that works is {len(found)}")
    _add(definition["model"], found, tokenizer.vocabulary)
    return Tokenizer(tokenizer.kind, json.dumps(definition, ensure_ascii=False), tokenizer.specials)


def continuation(definition: Mapping[str, Any]) -> str:
    """The prefix of pieces that continue a word, "##" in WordPiece; "" where a tokenizer has none."""
    return definition["model"].get("continuing_subword_prefix") or ""


def cut_words(tokenizer: Tokenizer, counts: Mapping[str, int], mark: str) -> list[tuple[list[str], int]]:
    """The words of a text as pieces, and how often each occurs; words with an unknown character are left out."""
    import tokenizers

    backend = tokenizers.Tokenizer.from_str(tokenizer.definition)
    normalize = backend.normalizer.normalize_str if backend.normalizer else str
    cut, tokenize = backend.pre_tokenizer.pre_tokenize_str, backend.model.tokenize
    learnt = words_to_learn(counts, lambda word: [part for part, _ in cut(normalize(f" {word}"))])
    found = []
    for word, count in learnt:
        tokens = tokenize(word)
        written = "".join(token.value.removeprefix(mark) for token in tokens)
        if written == word and all(token.id != tokenizer.unk_id for token in tokens):  # pieces of single bytes are not
            found.append(([token.value for token in tokens], count))
    return found


def learn(words: Sequence[tuple[list[str], int]], vocabulary: Iterable[str], number: int, mark: str) -> list[Merge]:
    """At most `number` new pieces, in the order in which they are learnt.

    Args:
      words: pieces of each word, and how often it occurs.
      vocabulary: the pieces that there are.
      mark: the prefix of pieces that continue a word.
    """
    text = _Text(words)
    known, found = set(vocabulary), list[Merge]()
    while len(found) < number and (best := text.most_frequent_pair()):
        pair, count = best
        first, second = pair[0], pair[1].removeprefix(mark)
        piece = first + second
        if piece in known or CROSSES_RUNS.search(first[-1] + second[:1]) or len(piece) > LONGEST_PIECE:
            continue
        known.add(piece)
        found.append(Merge(piece, pair, count / text.total))
        text.merge(pair, piece)
    return found


class _Text:
    """Words as pieces, and the counts of neighbouring pairs, which merging keeps up to date."""

    def __init__(self, words: Sequence[tuple[list[str], int]]):
        self._words = [pieces for pieces, _ in words]
        self._counts = [count for _, count in words]
        self.total = sum(len(word) * count for word, count in zip(self._words, self._counts, strict=True))
        self._pairs: collections.Counter[Pair] = collections.Counter()
        self._where: dict[Pair, set[int]] = collections.defaultdict(set)
        for i in range(len(self._words)):
            self._count(i, 1)
        self._waiting = [(-count, pair) for pair, count in self._pairs.items() if count >= LEAST_COUNT]
        heapq.heapify(self._waiting)

    def most_frequent_pair(self) -> tuple[Pair, int] | None:
        """The most frequent pair not returned yet, and its count; of equals the first in alphabetical order."""
        while self._waiting:
            count, pair = heapq.heappop(self._waiting)
            if -count == self._pairs[pair]:  # else its count has changed, and it waits with the new one too
                return pair, -count
        return None

    def merge(self, pair: Pair, piece: str) -> None:
        """Replaces the pair by the piece in all words."""
        changed: set[Pair] = set()
        for i in self._where.pop(pair):
            changed |= self._count(i, -1)
            before = len(self._words[i])
            self._words[i] = merged(self._words[i], pair, piece)
            self.total -= (before - len(self._words[i])) * self._counts[i]
            changed |= self._count(i, 1)
        for other in changed - {pair}:
            if self._pairs[other] >= LEAST_COUNT:
                heapq.heappush(self._waiting, (-self._pairs[other], other))

    def _count(self, i: int, sign: int) -> set[Pair]:
        """Adds the pairs of word number i to the counts, or subtracts them; returns these pairs."""
        pairs = list(itertools.pairwise(self._words[i]))
        for pair in pairs:
            self._pairs[pair] += sign * self._counts[i]
            if sign > 0:
                self._where[pair].add(i)
        return set(pairs)


def merged(word: Sequence[str], pair: Pair, piece: str) -> list[str]:
    """A word's pieces, with the piece in place of each such pair."""
    made: list[str] = []
    for each in word:
        if made and (made[-1], each) == pair:
            made[-1] = piece
        else:
            made.append(each)
    return made


def _add(model: dict[str, Any], found: Sequence[Merge], vocabulary: Sequence[str]) -> None:
    """Adds the pieces to the model of a `tokenizer.json`.

    Raises:
      FormatError: as `extended`.
    """
    if model["type"] == "Unigram":
        _add_scored(model["vocab"], found, len(vocabulary))
        return
    # The library numbers tokens that the model lacks after the model's: they have to be in it to keep their ids.
    model["vocab"] = {piece: i for i, piece in enumerate([*vocabulary, *(each.piece for each in found)])}
    if model["type"] == "BPE":
        in_one = bool(model["merges"]) and isinstance(model["merges"][0], str)
        model["merges"] += [" ".join(each.pair) if in_one else list(each.pair) for each in found]


def _add_scored(scored: list[list[Any]], found: Sequence[Merge], size: int) -> None:
    if len(scored) < size:
        raise FormatError(
            "new pieces cannot follow a unigram vocabulary that lacks some of its special tokens; leave "
            "config.data.tokenizer.options.new_pieces out"
        )
    scores = dict(scored)
    least = min(scores.values())  # that of unknown characters depends on it
    for piece, pair, share in found:
        above = sum(scores[part] for part in pair) + _LEAST_MORE
        scores[piece] = math.ceil(max(math.log(share), above, least) / SCORE_STEP) * SCORE_STEP
        scored.append([piece, scores[piece]])


def replaced(tokenizer: Tokenizer, first: int) -> list[list[int]]:
    """The ids that each new piece replaces: the fewest pieces before `first` that spell it.

    Args:
      first: the id of the first new piece.
    """
    mark = continuation(json.loads(tokenizer.definition))
    known = {piece: i for i, piece in enumerate(tokenizer.vocabulary[:first])}
    return [_fewest(piece, known, mark) for piece in tokenizer.vocabulary[first:]]


def _fewest(piece: str, known: Mapping[str, int], mark: str) -> list[int]:
    """The fewest known pieces that spell another, those with the longest first piece of equally many; none: []."""
    inside = bool(mark) and piece.startswith(mark)
    text = piece.removeprefix(mark) if inside else piece
    best: list[list[int] | None] = [*[None] * len(text), []]  # for the text from each character on
    for start in reversed(range(len(text))):
        before = mark if start or inside else ""
        ends = range(len(text), start, -1)
        ways = [(known.get(before + text[start:end]), best[end]) for end in ends]
        whole = [[first, *rest] for first, rest in ways if first is not None and rest is not None]
        best[start] = min(whole, key=len, default=None)
    return best[0] or []
