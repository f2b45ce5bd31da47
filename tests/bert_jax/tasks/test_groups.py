"""The accuracy of groups of examples beside that of all."""

import numpy as np
import pytest

from bert_jax.tasks import classification
from bert_jax.tasks._texts import Encoded
from configuration.variants import ConfigError
from data_pipeline.labelled import Record

LABELS = ("no", "yes")
SAID = [("yes", "a"), ("no", "a"), ("yes", "b"), ("no", ""), ("yes", "a")]
RECORDS = [Record({"text": "x", "label": label, "kind": kind}, f"x:{i}") for i, (label, kind) in enumerate(SAID)]
YES = np.array([0.9, 0.8, 0.1, 0.7, 0.6])  # right, wrong, wrong, wrong, right


def scores(groups: str) -> dict[str, float]:
    encoded = Encoded(np.zeros(5, int), np.zeros(5, int), np.arange(6), np.arange(5))
    outputs = {"probabilities": np.stack([1 - YES, YES], axis=1)}
    return classification.task(labels=LABELS, groups=groups).scores(outputs, encoded, RECORDS)


def test_each_group_has_its_accuracy() -> None:
    plain, grouped = scores(""), scores("kind")
    assert grouped == plain | {"accuracy_a": pytest.approx(2 / 3), "accuracy_b": 0.0}
    assert plain["accuracy"] == pytest.approx(2 / 5)


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"x:0 has no column 'kinds'; did you mean 'kind'\?"):
        scores("kinds")
