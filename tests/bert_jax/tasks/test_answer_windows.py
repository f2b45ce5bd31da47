"""Windows of long texts and the answers read from them, against the rules of BERT's run_squad.py in plain loops."""

import math

import numpy as np
import pytest

from bert_jax.metrics.answers import best_answers
from bert_jax.tasks.question_answering import most_context, place, windows
from data_pipeline.labelled import Record

QUESTIONS = 1000


def has_most_context(spans, current, position):
    """Of a token that several windows show, the one with the most context to its poorer side (run_squad.py)."""
    best_score, best = None, None
    for number, (start, length) in enumerate(spans):
        if not start <= position < start + length:
            continue
        score = min(position - start, start + length - 1 - position) + 0.01 * length
        if best_score is None or score > best_score:
            best_score, best = score, number
    return best == current


@pytest.mark.parametrize("seed", range(3))
def test_the_window_with_the_most_context(seed) -> None:
    rng, checked = np.random.default_rng(seed), 0
    while checked < 3000:
        tokens, room = int(rng.integers(1, 60)), int(rng.integers(2, 20))
        stride = int(rng.integers(0, room))
        firsts = list(windows(tokens, room, stride))
        spans = [(first, min(room, tokens - first)) for first in firsts]
        assert set().union(*(range(start, start + size) for start, size in spans)) == set(range(tokens))
        for number, (first, size) in enumerate(spans):
            wanted = [has_most_context(spans, number, first + i) for i in range(size)]
            assert most_context(tokens, first, size, room, stride).tolist() == wanted
            checked += size


def official(words, features, n_best, longest, threshold):
    """The answer, the n best and the score of no answer: run_squad.py's `write_predictions`, with words as tokens.

    Args:
      features: of each window its first token, the words that it shows, its logits, and which tokens may start.
      threshold: None for SQuAD 1.1.
    """
    found, null = [], 1_000_000.0
    for first, size, before, starts, ends, may in features:
        best = lambda logits: sorted(range(len(logits)), key=lambda i: logits[i], reverse=True)[:n_best]
        null = min(null, starts[0] + ends[0])
        inside = range(before, before + size)
        for start in best(starts):
            for end in best(ends):
                if start not in inside or end not in inside or not may[start - before]:
                    continue
                if end < start or end - start + 1 > longest:
                    continue
                text = " ".join(words[first + start - before : first + end - before + 1])
                found.append((text, starts[start] + ends[end]))
    if threshold is not None:
        found.append(("", null))
    kept = []
    for text, score in sorted(found, key=lambda pair: pair[1], reverse=True):
        if len(kept) < n_best and text not in [each for each, _ in kept]:
            kept.append((text, score))
    if threshold is not None and "" not in [text for text, _ in kept]:
        kept.append(("", null))
    answered = [pair for pair in kept if pair[0]]
    if not answered:
        return "", kept, math.inf
    difference = null - answered[0][1]
    return ("" if threshold is not None and difference > threshold else answered[0][0]), kept, difference


def test_answers_are_those_of_the_official_rules_on_random_logits() -> None:
    rng, empty = np.random.default_rng(0), 0
    for _ in range(QUESTIONS):
        words = [f"w{i}" for i in range(int(rng.integers(1, 40)))]
        before, room = int(rng.integers(2, 5)), int(rng.integers(3, 15))
        stride, threshold = int(rng.integers(0, room)), [None, 0.0, -3.0, 2.0][rng.integers(0, 4)]
        n_best, longest = int(rng.integers(1, 21)), int(rng.integers(1, 12))
        ends_of = np.cumsum([len(word) + 1 for word in words]) - 1
        where = np.stack([ends_of - [len(word) for word in words], ends_of], -1)
        features, arrays = [], []
        for first in windows(len(words), room, stride):
            size = min(room, len(words) - first)
            starts, ends = np.full((2, before + room + 1), -np.inf)
            starts[: before + size + 1], ends[: before + size + 1] = rng.normal(scale=3, size=(2, before + size + 1))
            may = most_context(len(words), first, size, room, stride)
            offsets, shown = np.full((len(starts), 2), -1), np.zeros(len(starts), bool)
            offsets[before : before + size], shown[before : before + size] = where[first : first + size], may
            length = before + size + 1
            features.append((first, size, before, starts[:length].tolist(), ends[:length].tolist(), may))
            arrays.append((starts, ends, offsets, shown))
        starts, ends, offsets, shown = map(np.stack, zip(*arrays, strict=True))
        (found,) = best_answers(
            *([" ".join(words)], np.zeros(len(features), int), starts, ends, offsets),
            **{"max_context": shown, "n_best": n_best, "max_length": longest, "null_threshold": threshold},
        )
        text, kept, difference = official(words, features, n_best, longest, threshold)
        assert found.text == text
        assert [candidate.text for candidate in found.candidates] == [each for each, _ in kept]
        np.testing.assert_allclose([candidate.score for candidate in found.candidates], [score for _, score in kept])
        assert found.null_difference == pytest.approx(difference)
        empty += text == ""
    assert 50 < empty < QUESTIONS / 2


def test_where_an_answer_stands_in_a_window() -> None:
    offsets = np.array([[0, 3], [4, 7], [8, 13], [14, 15]])  # one two three .
    record = lambda text, start: Record({"answers": [{"text": text, "start": start}]}, "here")
    assert place(record("two three", 4), "answers", offsets, 5) == (6, 7)
    assert place(record("hree", 9), "answers", offsets, 5) == (7, 7)  # cut out of a word
    assert place(record("two three", 4), "answers", offsets[:2], 5) == (0, 0)  # it ends in the next window
    assert place(record("one", 0), "answers", offsets[1:], 5) == (0, 0)
    assert place(Record({"answers": []}, "here"), "answers", offsets, 5) == (0, 0)
