"""Pieces that a tokenizer learns beside its own, from a text of another kind than it was made for; its ids stay.

Pieces that stand next to each other most often in the text become one, again and again, as if BPE went on: with BPE
each is one more merge. (Whole words that are appended instead can be out of its reach, since no merges lead to them:
Purason et al. 2025, arXiv 2512.03989.) WordPiece takes a new piece where it is the longest; in a unigram model it has
its share of the text's pieces as trained ones have, and always more than the two that it replaces.
"""

import collections
import heapq
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from configuration.foreign import FormatError
from data_pipeline.errors import DataError
from data_pipeline.tokenizers import Tokenizer, WordCounts
from data_pipeline.tokenizers._training import CROSSES_RUNS, LEAST_COUNT, LONGEST_PIECE, words_to_learn

Pair = tuple[str, str]
_LEAST_MORE = 1e-3  # nat, by which a piece of a unigram model is above the two that it replaces


class Joined(NamedTuple):
    """A new piece."""

    piece: str
    parts: Pair
    share: float  # of all pieces of the text, when it was learnt


def extended(tokenizer: Tokenizer, word_counts: WordCounts, number: int) -> Tokenizer:
    """The tokenizer with `number` more pieces, whose ids follow its own.

    Raises:
      DataError: the text does not support so many.
      FormatError: a unigram model whose special tokens are no part of its vocabulary.
    """
    definition = json.loads(tokenizer.definition)
    found = learn(cut_words(tokenizer, word_counts()), _vocabulary(tokenizer), number, continues(definition))
    if len(found) < number:
        option = f"config.data.tokenizer.options.new_pieces={number}"
        raise DataError(f"{option} is more than the text supports; the largest that works is {len(found)}")
    _add(definition["model"], found, _vocabulary(tokenizer))
    return Tokenizer(tokenizer.kind, json.dumps(definition, ensure_ascii=False), tokenizer.specials)


def continues(definition: Mapping[str, Any]) -> str:
    """How a tokenizer marks pieces that go on within a word, "##" in WordPiece; "" where it does not."""
    return definition["model"].get("continuing_subword_prefix") or ""


def _vocabulary(tokenizer: Tokenizer) -> list[str]:
    return tokenizer.pieces(range(tokenizer.vocab_size))


def cut_words(tokenizer: Tokenizer, counts: Mapping[str, int]) -> list[tuple[list[str], int]]:
    """The words of a text as pieces, and how often each occurs; without those that have an unknown character."""
    import tokenizers

    backend = tokenizers.Tokenizer.from_str(tokenizer.definition)
    normalize = backend.normalizer.normalize_str if backend.normalizer else str
    cut, tokenize = backend.pre_tokenizer.pre_tokenize_str, backend.model.tokenize
    learnt = words_to_learn(counts, lambda word: [part for part, _ in cut(normalize(f" {word}"))])
    mark = continues(json.loads(tokenizer.definition))
    found = []
    for word, count in learnt:
        tokens = tokenize(word)
        written = "".join(token.value.removeprefix(mark) for token in tokens)
        if written == word and all(token.id != tokenizer.unk_id for token in tokens):  # bytes are written otherwise
            found.append(([token.value for token in tokens], count))
    return found


def learn(words: Sequence[tuple[list[str], int]], vocabulary: Iterable[str], number: int, mark: str) -> list[Joined]:
    """At most `number` new pieces, the first learnt first.

    Args:
      words: pieces of each word, and how often it occurs.
      vocabulary: what is a piece already.
      mark: of pieces that go on within a word.
    """
    text = _Text(words)
    known, found = set(vocabulary), list[Joined]()
    while len(found) < number and (best := text.commonest()):
        pair, count = best
        piece = pair[0] + pair[1].removeprefix(mark)
        crosses = CROSSES_RUNS.search(pair[0][-1] + pair[1].removeprefix(mark)[:1])
        if piece in known or crosses or len(piece) > LONGEST_PIECE:
            continue
        known.add(piece)
        found.append(Joined(piece, pair, count / text.total))
        text.join(pair, piece)
    return found


class _Text:
    """Words as pieces, of which pairs are joined."""

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

    def commonest(self) -> tuple[Pair, int] | None:
        """The pair that occurs most often of those not asked for yet, and how often; of equals the first by name."""
        while self._waiting:
            count, pair = heapq.heappop(self._waiting)
            if -count == self._pairs[pair]:  # else its count has changed, and it waits with the new one too
                return pair, -count
        return None

    def join(self, pair: Pair, piece: str) -> None:
        """Makes one piece of the pair wherever it stands."""
        changed: set[Pair] = set()
        for i in self._where.pop(pair):
            changed |= self._count(i, -1)
            before = len(self._words[i])
            self._words[i] = joined(self._words[i], pair, piece)
            self.total -= (before - len(self._words[i])) * self._counts[i]
            changed |= self._count(i, 1)
        for other in changed - {pair}:
            if self._pairs[other] >= LEAST_COUNT:
                heapq.heappush(self._waiting, (-self._pairs[other], other))

    def _count(self, i: int, sign: int) -> set[Pair]:
        """Adds the pairs of a word to the counts, or takes them off; which these are."""
        pairs = list(itertools.pairwise(self._words[i]))
        for pair in pairs:
            self._pairs[pair] += sign * self._counts[i]
            if sign > 0:
                self._where[pair].add(i)
        return set(pairs)


def joined(word: Sequence[str], pair: Pair, piece: str) -> list[str]:
    """A word's pieces, each such pair as one."""
    made: list[str] = []
    for each in word:
        if made and (made[-1], each) == pair:
            made[-1] = piece
        else:
            made.append(each)
    return made


def _add(model: dict[str, Any], found: Sequence[Joined], vocabulary: Sequence[str]) -> None:
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
        model["merges"] += [" ".join(each.parts) if in_one else list(each.parts) for each in found]


def _add_scored(scored: list[list[Any]], found: Sequence[Joined], size: int) -> None:
    if len(scored) < size:
        raise FormatError(
            "new pieces cannot follow a unigram vocabulary that lacks some of its special tokens; leave "
            "config.data.tokenizer.options.new_pieces out"
        )
    scores = dict(scored)
    least = min(scores.values())  # that of unknown characters depends on it
    for piece, parts, share in found:
        above = sum(scores[part] for part in parts) + _LEAST_MORE
        scores[piece] = float(np.float32(max(math.log(share), above, least)))
        scored.append([piece, scores[piece]])


def replaced(tokenizer: Tokenizer, first: int) -> list[list[int]]:
    """The pieces that each new one stands for, as ids: the fewest of those before `first` that are written like it.

    Args:
      first: the id of the first new piece.
    """
    mark = continues(json.loads(tokenizer.definition))
    pieces = _vocabulary(tokenizer)
    known = {piece: i for i, piece in enumerate(pieces[:first])}
    return [_fewest(piece, known, mark) for piece in pieces[first:]]


def _fewest(piece: str, known: Mapping[str, int], mark: str) -> list[int]:
    """The fewest known pieces that make up another, of equally many the longest first."""
    going_on = bool(mark) and piece.startswith(mark)
    text = piece.removeprefix(mark) if going_on else piece
    best: list[list[int] | None] = [*[None] * len(text), []]  # of each rest of the text
    for start in reversed(range(len(text))):
        before = mark if start or going_on else ""
        ends = range(len(text), start, -1)
        ways = [(known.get(before + text[start:end]), best[end]) for end in ends]
        whole = [[first, *rest] for first, rest in ways if first is not None and rest is not None]
        best[start] = min(whole, key=len, default=None)
    return best[0] or []
