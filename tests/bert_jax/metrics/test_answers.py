"""Answers from logits, against an independent form in plain loops."""

import math

import numpy as np
import pytest

from bert_jax.metrics.answers import best_answers
from configuration.variants import ConfigError
from data_pipeline.errors import DataError


def reference(context, windows, n_best, max_length, threshold):
    """The rules, one pair of tokens at a time.

    Args:
      windows: of each its start logits, end logits, offsets (None outside the context) and, of each token, whether it
        has the most context here (None for no matter).
    """
    found, null = [], None
    for starts, ends, offsets, most in windows:
        tokens = range(len(starts))
        if null is None or starts[0] + ends[0] < null:
            null = starts[0] + ends[0]
        best_starts = sorted(tokens, key=lambda t: (starts[t], t), reverse=True)[:n_best]
        best_ends = sorted(tokens, key=lambda t: (ends[t], t), reverse=True)[:n_best]
        for start in best_starts:
            for end in best_ends:
                if offsets[start] is None or offsets[end] is None:
                    continue
                if end < start or end - start + 1 > max_length:
                    continue
                if most is not None and not most[start]:
                    continue
                found.append(((offsets[start][0], offsets[end][1]), starts[start] + ends[end]))
    if threshold is not None:
        found.append(((0, 0), null))
    ranked = sorted(found, key=lambda item: item[1], reverse=True)[:n_best]
    if threshold is not None and all(span != (0, 0) for span, _ in ranked):
        ranked.append(((0, 0), null))
    answers = [(context[start:end], float(score)) for (start, end), score in ranked]
    total = sum(math.exp(score - answers[0][1]) for _, score in answers) if answers else 1
    candidates = [(text, score, math.exp(score - answers[0][1]) / total) for text, score in answers]
    filled = [item for item in answers if item[0]]
    if not filled:
        return "", candidates, math.inf
    difference = float(null) - filled[0][1]
    nothing = threshold is not None and difference > threshold
    return ("" if nothing else filled[0][0]), candidates, difference


def random_case(generator):
    """A few questions whose windows overlap, with the question's tokens before and padding behind."""
    length = int(generator.integers(4, 24))
    contexts, questions, offsets = [], [], []
    for number in range(int(generator.integers(1, 4))):
        words = ["".join(generator.choice(list("abcdé中"), generator.integers(1, 5))) for _ in range(30)]
        context = " ".join(words)
        ends = np.cumsum([len(word) + 1 for word in words]) - 1
        spans = np.stack([ends - [len(word) for word in words], ends], -1)
        for _ in range(int(generator.integers(1, 4))):
            before, after = generator.integers(1, length), generator.integers(0, 3)
            row = np.full((length, 2), -1)
            count = max(0, length - before - after)
            first = int(generator.integers(0, 30 - min(count, 29)))
            row[before : before + count] = spans[first : first + count]
            questions.append(number)
            offsets.append(row)
        contexts.append(context)
    shape = (len(questions), length)
    order = generator.permutation(len(questions))
    dtype = np.float32 if generator.random() < 0.5 else np.float64
    starts, ends = (generator.normal(scale=3, size=shape).astype(dtype) for _ in range(2))
    if generator.random() < 0.2:  # many logits are the same
        starts, ends = np.round(starts), np.round(ends)
    most = generator.random(shape) < 0.6 if generator.random() < 0.5 else None
    return contexts, np.array(questions)[order], starts, ends, np.array(offsets)[order], most


@pytest.mark.parametrize("threshold", [None, 0.0, -3.0, 4.0])
def test_as_plain_loops_on_random_windows(threshold):
    generator = np.random.default_rng(0)
    empty = cases = 0
    while cases < 1000:
        contexts, questions, starts, ends, offsets, most = random_case(generator)
        n_best, max_length = int(generator.integers(1, 21)), int(generator.integers(1, 12))
        found = best_answers(
            contexts,
            questions,
            starts,
            ends,
            offsets,
            max_context=most,
            n_best=n_best,
            max_length=max_length,
            null_threshold=threshold,
        )
        for number, (context, answer) in enumerate(zip(contexts, found, strict=True)):
            windows = [
                (
                    starts[w],
                    ends[w],
                    [tuple(map(int, span)) if span[0] >= 0 else None for span in offsets[w]],
                    None if most is None else most[w],
                )
                for w in np.flatnonzero(questions == number)
            ]
            text, candidates, difference = reference(context, windows, n_best, max_length, threshold)
            assert answer.text == text
            assert [c.text for c in answer.candidates] == [c[0] for c in candidates]
            assert [c.score for c in answer.candidates] == [c[1] for c in candidates]
            np.testing.assert_allclose(
                [c.probability for c in answer.candidates], [c[2] for c in candidates], atol=1e-12
            )
            assert all(context[c.start : c.end] == c.text for c in answer.candidates)
            assert answer.null_difference == pytest.approx(difference, rel=1e-6)
            empty += text == ""
            cases += 1
    assert 0 < empty < cases


def one(starts, ends, offsets, context="one two three", **options):
    arrays = (np.array([starts], np.float32), np.array([ends], np.float32), np.array([offsets]))
    return best_answers([context], np.array([0]), *arrays, **options)[0]


OFFSETS = [(-1, -1), (0, 3), (4, 7), (8, 13)]


def test_no_answer_by_its_threshold():
    logits = [5.0, 4.0, 0.0, 0.0], [5.0, 0.0, 3.0, 0.0]
    assert one(*logits, OFFSETS) == one(*logits, OFFSETS, null_threshold=None)
    assert one(*logits, OFFSETS).text == "one two"
    assert one(*logits, OFFSETS).null_difference == 3
    assert one(*logits, OFFSETS, null_threshold=3.0).text == "one two"  # not above it
    assert one(*logits, OFFSETS, null_threshold=2.9).text == ""
    assert one(*logits, OFFSETS, null_threshold=2.9).candidates[0].text == ""


def test_the_lowest_score_of_no_answer_counts():
    starts = np.array([[9.0, 0, 0, 0], [-4.0, 3, 0, 0]])
    (answer,) = best_answers(
        ["one two three"], np.array([0, 0]), starts, starts, np.array([OFFSETS] * 2), null_threshold=0.0
    )
    assert answer.text == "one"
    assert answer.null_difference == -8 - 6


def test_texts_without_a_candidate():
    nowhere = [(-1, -1)] * 4
    assert one([0.0] * 4, [0.0] * 4, nowhere) == ("", (), math.inf)
    answer = one([0.0] * 4, [0.0] * 4, nowhere, null_threshold=0.0)
    assert (answer.text, len(answer.candidates), answer.candidates[0].probability) == ("", 1, 1.0)
    # A space alone has no text, however likely it is.
    answer = one([0.0, 9.0, 1.0], [0.0, 9.0, 1.0], [(-1, -1), (4, 4), (4, 7)], max_length=1)
    assert [c.text for c in answer.candidates] == ["", "two"]
    assert answer.text == "two"


def test_masked_logits():
    masked = [-np.inf, 1.0, -np.inf, -np.inf]
    assert one(masked, masked, OFFSETS).text == "one"
    assert sum(c.probability for c in one(masked, masked, OFFSETS, null_threshold=0.0).candidates) == pytest.approx(1)


def test_what_cannot_be():
    zeros = [0.0] * 4
    with pytest.raises(ConfigError, match=r"config\.n_best is 0"):
        one(zeros, zeros, OFFSETS, n_best=0)
    with pytest.raises(ConfigError, match=r"config\.max_length is 0"):
        one(zeros, zeros, OFFSETS, max_length=0)
    with pytest.raises(DataError, match=r"starts\[0, 1\] is nan; the model has diverged"):
        one([0.0, np.nan, 0.0, 0.0], zeros, OFFSETS)
    with pytest.raises(DataError, match=r"are not \[W, L"):
        one(zeros, zeros[:3], OFFSETS)
    arrays = np.zeros((2, 4)), np.zeros((2, 4)), np.array([OFFSETS] * 2)
    with pytest.raises(DataError, match="question 1 has no window"):
        best_answers(["a", "b"], np.array([0, 0]), *arrays)
    with pytest.raises(DataError, match="windows are of questions 0 to 2; there are 2 contexts"):
        best_answers(["a", "b"], np.array([0, 2]), *arrays)
    with pytest.raises(DataError, match="there are 1 questions, 2 starts"):
        best_answers(["a"], np.array([0]), *arrays)
