"""Tasks, one a file: how labelled examples become inputs, what is trained, and what is predicted.

A task's file has what an objective's has, `build(model, vocabulary, *, …) -> Objective` and `parts(model, *, …)`, for
batches of `data_pipeline.batches.labelled_rows`, and `task(*, …) -> Task`. Options go to those of the three that take
them.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from bert_jax.metrics.paired_bootstrap import Statistic
from bert_jax.objectives import normalized
from configuration.variants import ConfigError, Variant, load, module, nearest, options_of
from data_pipeline.batches.labelled_rows import Encoded
from data_pipeline.labelled import Record
from data_pipeline.tokenizers import Tokenizer

PACKAGE = "bert_jax.tasks"
Outputs = Mapping[str, np.ndarray]  # of each example [n, …], or of each token [T, …]


class Task(NamedTuple):
    """The parts of a task other than its objective."""

    text: tuple[str, ...]  # columns that identify equal examples
    find_labels: Callable[[Sequence[Record]], tuple[str, ...]]  # the names of the labels in the training records
    encode: Callable[[Sequence[Record], Tokenizer, int, bool], Encoded]  # records, L, and whether they have labels
    outputs: Callable[[Any, Any, Any], dict[str, jax.Array]]  # model, params, batch → [B, E, …] or [B, L, …]
    level: Literal["example", "token"]  # of the outputs
    scores: Callable[[Outputs, Encoded, Sequence[Record]], dict[str, float]]  # metrics; higher is better
    main: str  # the primary metric
    answers: Callable[[Outputs, Encoded, Sequence[Record]], list[dict[str, Any]]]  # one a record
    # The score of each record's answer, float [n], by which two systems are compared on the same records; or with
    # `statistic` the terms, [n, k], of a figure that is a function of their means.
    each: Callable[[Sequence[Mapping[str, Any]], Sequence[Record]], np.ndarray] | None = None
    each_name: str = ""  # what that score, or figure, is
    statistic: Statistic | None = None
    encode_held_out: Callable[[Sequence[Record], Tokenizer, int, bool], Encoded] | None = None  # where it is another

    def encoder_of(self, split: str) -> Callable[[Sequence[Record], Tokenizer, int, bool], Encoded]:
        """What encodes the records of a split."""
        return self.encode if split == "train" else self.encode_held_out or self.encode


def shared_out(field: str) -> Callable[[dict[str, jax.Array], jax.Array], dict[str, jax.Array]]:
    """The `corrupt` of a task that changes nothing but its weights, which become shares of the global batch."""
    return lambda batch, key: batch | {field: normalized(batch[field])}


def load_task(variant: Variant) -> Task:
    """The task that a configuration names.

    Raises:
      ConfigError: there is no such file, or an option that it does not have.
    """
    file = module(PACKAGE, variant.name)
    known = {name for function in (file.build, file.parts, file.task) for name in options_of(function)}
    for option in variant.options:
        if option not in known:
            raise ConfigError(f"the task {variant.name} has no option {option!r}{nearest(option, sorted(known))}")
    return load(PACKAGE, chosen(variant, file.task), "task")()


def objective_of(variant: Variant) -> Variant:
    """The objective of a task, as `config.objective` names it."""
    file = module(PACKAGE, variant.name)
    name = variant.name if "." in variant.name else f"{PACKAGE}.{variant.name}"
    return Variant(name, chosen(variant, file.build, file.parts).options)


def with_labels(variant: Variant, labels: Sequence[str]) -> Variant:
    """The task with the names of its labels, if it has labels."""
    takes = "labels" in inspect.signature(module(PACKAGE, variant.name).task).parameters
    return Variant(variant.name, {**variant.options, "labels": list(labels)}) if takes and labels else variant


def chosen(variant: Variant, *functions: Callable[..., Any]) -> Variant:
    """The variant with only the options that a function accepts."""
    known = {name for function in functions for name in options_of(function)}
    return Variant(variant.name, {name: value for name, value in variant.options.items() if name in known})
