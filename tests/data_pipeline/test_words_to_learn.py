"""The words that a tokenizer is trained on: the commonest, in an order that only they decide."""

import collections
import random
import zlib

import pytest

from data_pipeline.errors import DataError
from data_pipeline.tokenizers import _training
from data_pipeline.tokenizers._training import words_to_learn

ONE_HASH = ("plumless", "buckeroo")  # whose CRC-32 is the same


def drawn_counts(seed: int) -> dict[str, int]:
    """Counts of a few thousand words, small ones above all."""
    draw = random.Random(seed)
    words = {"".join(draw.choices("abcdeé,", k=draw.randint(1, 7))) for _ in range(3000)}
    return {word: int(draw.paretovariate(0.8)) for word in sorted(words)} | dict.fromkeys(ONE_HASH, 1)


def shuffled(counts: dict[str, int]) -> dict[str, int]:
    items = list(counts.items())
    random.Random(9).shuffle(items)
    return dict(items)


@pytest.mark.parametrize("characters", [50, 4000, 10**6])
def test_the_order_in_which_words_were_counted_plays_no_part(characters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({zlib.crc32(word.encode()) for word in ONE_HASH}) == 1
    monkeypatch.setattr(_training, "_TRAINING_CHARACTERS", characters)
    counts, alone = drawn_counts(1), lambda word: [word]
    found = words_to_learn(counts, alone)
    for other in (shuffled(counts), dict(reversed(counts.items()))):
        assert words_to_learn(other, alone) == found == words_to_learn(other, alone, unchanged=lambda word: True)


def test_the_commonest_are_taken_and_of_the_last_count_not_the_alphabets_start(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = drawn_counts(2)
    characters = sum(len(word) for word, count in counts.items() if count > 1) + 2000
    monkeypatch.setattr(_training, "_TRAINING_CHARACTERS", characters)
    found = words_to_learn(counts, lambda word: [word])
    assert characters - 7 <= sum(len(word) for word, _ in found) <= characters
    assert [count for _, count in found] == sorted((count for _, count in found), reverse=True)
    assert {word for word, count in counts.items() if count > 1} < dict(found).keys()
    single = sorted(word for word, count in counts.items() if count == 1)
    taken = [single.index(word) for word, count in found if count == 1]
    assert len(single) * 0.4 < sum(taken) / len(taken) < len(single) * 0.6


def test_parts_of_words_count_together_and_long_ones_are_cut() -> None:
    long = "x" * (_training.LONGEST_WORD + 3)
    counts = {"a-b": 2, "b": 3, "-": 1, long: 5}
    found = dict(words_to_learn(counts, lambda word: word.split("-"), unchanged=lambda word: "-" not in word))
    assert found == {"a": 2, "b": 5, "x" * _training.LONGEST_WORD: 5, "xxx": 5}
    with pytest.raises(DataError, match="there is no word to train a tokenizer on"):
        words_to_learn({"-": 3}, lambda word: word.split("-"))


def test_counts_are_scaled_as_numbers_are_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = drawn_counts(3)
    weighted = collections.Counter(counts)
    monkeypatch.setattr(_training, "_WEIGHTED_CHARACTERS", 5000)
    share = 5000 / sum(len(word) * count for word, count in weighted.items())
    found = words_to_learn(counts, lambda word: [word])
    assert dict(found) == {word: max(1, round(count * share)) for word, count in counts.items()}
