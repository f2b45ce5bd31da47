"""Scores of classes, against their definitions in plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.metrics import classification, need
from configuration.variants import ConfigError
from data_pipeline.errors import DataError


def reference(labels, predicted, confidence):
    """Each score from its definition, counting one example at a time."""
    pairs = list(zip(labels.tolist(), predicted.tolist(), strict=True))
    f1 = {}
    for c in sorted(set(labels.tolist()) | set(predicted.tolist())):
        hits = sum(1 for pair in pairs if pair == (c, c))
        said, true = sum(1 for _, p in pairs if p == c), sum(1 for t, _ in pairs if t == c)
        f1[c] = 2 * hits / (said + true)
    n = len(pairs)
    right = sum(t == p for t, p in pairs)
    classes = range(max(max(pair) for pair in pairs) + 1)
    true, said = ([sum(pair[side] == c for pair in pairs) for c in classes] for side in (0, 1))
    covariance = right * n - sum(t * s for t, s in zip(true, said, strict=True))  # Gorodkin 2004
    spread = math.sqrt((n * n - sum(s * s for s in said)) * (n * n - sum(t * t for t in true)))
    error = 0.0
    for b in range(15):
        low = b / 15 if b else -1
        held = [i for i, value in enumerate(confidence) if low < value <= (b + 1) / 15]
        if held:
            accuracy = sum(pairs[i][0] == pairs[i][1] for i in held) / len(held)
            error += len(held) / n * abs(accuracy - sum(confidence[i] for i in held) / len(held))
    return {
        "accuracy": right / n,
        "macro_f1": sum(f1.values()) / len(f1),
        "micro_f1": right / n,
        "f1": f1.get(1, 0.0),
        "matthews": covariance / spread if spread else 0.0,
        "calibration_error": error,
    }


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**31), st.sampled_from([0.3, 3.0, 30.0]))
def test_as_defined(classes, count, seed, scale):
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=scale, size=(count, classes))
    logits[:, generator.integers(classes)] -= 100 if generator.random() < 0.3 else 0  # a class that is never predicted
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    labels = generator.integers(classes if generator.random() < 0.8 else 1, size=count)
    expected = reference(labels, probabilities.argmax(-1), probabilities.max(-1).tolist())
    if classes != 2:
        del expected["f1"]
    assert classification.compute(labels, probabilities) == pytest.approx(expected, abs=1e-9)


def one_hot(predicted, classes):
    return np.eye(classes)[np.array(predicted)]


def test_edge_cases():
    never = classification.compute(np.array([0, 1, 2, 2]), one_hot([0, 1, 1, 1], 3))
    assert never["macro_f1"] == pytest.approx((1 + 0.5 + 0) / 3)
    unknown = classification.compute(np.array([0, 0]), one_hot([0, 0], 3))  # classes that occur nowhere play no part
    assert unknown["macro_f1"] == 1
    assert unknown["matthews"] == 0
    only = classification.compute(np.array([0, 0]), np.ones((2, 1)))
    assert (only["accuracy"], only["matthews"], only["calibration_error"]) == (1, 0, 0)
    wrong = classification.compute(np.array([0, 1]), one_hot([1, 0], 2))
    assert (wrong["accuracy"], wrong["f1"], wrong["matthews"], wrong["calibration_error"]) == (0, 0, -1, 1)
    assert all(type(value) is float for value in wrong.values())


def test_bins_of_calibration_end_where_they_say():
    """A confidence of 0.5 with two bins is in the first: alone there, it is off by 0.5 when it is right."""
    probabilities = np.array([[0.5, 0.5], [0.6, 0.4]])
    error = classification.calibration_error(np.array([0, 1]), probabilities, bins=2)
    assert error == pytest.approx((0.5 + 0.6) / 2)
    assert classification.calibration_error(np.array([0, 1]), probabilities, bins=1) == pytest.approx(abs(1.1 - 1) / 2)


@given(st.integers(1, 6), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30))
def test_confusion(classes, pairs):
    pairs = [(t % classes, p % classes) for t, p in pairs]
    labels, predicted = np.array(pairs, int).reshape(-1, 2).T
    expected = [[sum(pair == (t, p) for pair in pairs) for p in range(classes)] for t in range(classes)]
    assert classification.confusion_matrix(labels, predicted, classes).tolist() == expected


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([], np.zeros((0, 2)), "there is no example to score: labels is empty"),
        ([0], np.full((2, 2), 0.5), "there are 1 labels, 2 probabilities"),
        ([0, 2], np.full((2, 2), 0.5), r"labels\[1\] is 2; the classes are 0 to 1"),
        ([0, -1], np.full((2, 2), 0.5), r"labels\[1\] is -1"),
        ([0], [[0.5, np.nan]], r"probabilities\[0, 1\] is nan; the model has diverged"),
        ([0], [[3.0, 1.0]], r"probabilities\[0\] sums to 4; give softmax of the logits"),
        ([0], [[-1.0, 2.0]], r"probabilities\[0\] sums to 1"),
    ],
)
def test_what_cannot_be(labels, probabilities, message):
    with pytest.raises(DataError, match=message):
        classification.compute(np.array(labels, int), np.array(probabilities))


def test_a_package_that_is_missing():
    with pytest.raises(ConfigError, match=r"need no_such_package: pip install 'bert_jax\[finetune\]'"):
        need("no_such_package")
