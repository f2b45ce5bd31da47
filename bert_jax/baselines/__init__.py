"""Baselines, one a file: what a simple method answers to the records of a task, without an encoder.

A file's `build(*, …) -> Baseline`. A baseline's outputs have the form of its task's own, with one example a record and
one token a word, so that the task scores both alike.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bert_jax.tasks import Outputs
from data_pipeline.batches.labelled_rows import Encoded
from data_pipeline.labelled import Record

PACKAGE = "bert_jax.baselines"


class Reader(NamedTuple):
    """What a task reads of a record."""

    text: tuple[str, ...]  # columns: one text, or two
    label: str  # column
    labels: tuple[str, ...]  # their names, in the order of the classes; empty where labels are numbers
    options: Mapping[str, Any]  # of the task


class Baseline(NamedTuple):
    """A method that learns from training records."""

    tasks: tuple[str, ...]  # files of bert_jax/tasks that it serves
    predict: Callable[[Reader, Sequence[Record], Sequence[Record]], tuple[Outputs, Encoded]]  # training, others


def reader(task: str, options: Mapping[str, Any], text: tuple[str, ...]) -> Reader:
    """What the task of this name, with these options, reads."""
    name = "tags" if task == "tagging" else "label"
    return Reader(text, options.get(name, name), tuple(options.get("labels", ())), options)


def one_example_each(lengths: Sequence[int]) -> Encoded:
    """Records as one example each, of so many tokens; a token is a word."""
    offsets = np.cumsum([0, *lengths])
    nothing = np.zeros(offsets[-1], np.int32)
    words = np.concatenate([np.zeros(0, np.int64), *map(np.arange, lengths)])
    return Encoded(nothing, nothing, offsets, np.arange(len(lengths)), aside={"words": words})
