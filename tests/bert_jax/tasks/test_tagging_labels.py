"""Which tags a task can have for its metric."""

import pytest

from bert_jax.tasks import tagging
from configuration.variants import ConfigError
from data_pipeline.labelled import Record

WORDS = Record({"words": ["a", "b"], "tags": ["DT", "NN"]}, "x:1")
NAMES = Record({"words": ["a", "b"], "tags": ["O", "B-PER"]}, "x:1")


def test_the_tags_are_found_or_given() -> None:
    assert tagging.task().find_labels([NAMES]) == ("B-PER", "O")
    assert tagging.task(metric="accuracy").find_labels([WORDS]) == ("DT", "NN")
    assert tagging.task(labels=("O", "B-PER", "I-PER")).find_labels([NAMES]) == ("O", "B-PER", "I-PER")


def test_entities_are_not_scored_where_tags_mark_none() -> None:
    with pytest.raises(ConfigError, match=r"config.task.metric is 'f1', but tags such as 'DT' mark no entities"):
        tagging.task().find_labels([WORDS])
