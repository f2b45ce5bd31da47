"""A task's scores on held-out labelled examples: the split `dev`, or another one.

With several tasks, scores of all but the main task are prefixed with the task's name, and `mean` is the mean of their
main scores.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from bert_jax.config import Config
from bert_jax.evaluators import Evaluator, Figures, compiled, put
from bert_jax.objectives.together import of_task
from bert_jax.runtime import sharding
from bert_jax.tasks import Outputs
from bert_jax.training.labelled import LabelledSet
from bert_jax.training.together import LabelledSets

ROWS = 64  # evaluated at a time


def build(config: Config, store: Any, mesh: Any, *, split: str = "dev") -> Evaluator:
    """dev_accuracy, … as the task names them."""
    data: LabelledSet | LabelledSets = store
    runs = {name: reader(config, own, mesh) for name, own in data.sets.items() if split in own.records}

    def evaluate(params: Any) -> Figures:
        found = {}
        for name, run in runs.items():
            own = data.sets[name]
            outputs = read(run, own, split, params, mesh)
            found[name] = own.task.scores(outputs, own.encoded(split), own.records[split])
        return named(data, split, found)

    return Evaluator(evaluate, describe, f"{split}_{data.main.task.main}", cheap=True)


def named(data: LabelledSet | LabelledSets, split: str, scores: Mapping[str, Mapping[str, float]]) -> Figures:
    """The scores of each task that has such a split, by the names that they have in figures."""
    found: Figures = {}
    for name, own in scores.items():
        task = "" if data.sets[name] is data.main else f"{name}_"
        found |= {f"{split}_{task}{score}": value for score, value in own.items()}
    if len(data.sets) > 1:
        found[f"{split}_mean"] = float(np.mean([own[data.sets[name].task.main] for name, own in scores.items()]))
    return found


def unsupported(config: Config) -> str:
    """Why there are no labelled examples."""
    return "" if config.labelled else "the run reads no labelled examples"


def reader(config: Config, data: LabelledSet, mesh: Any = None) -> Any:
    """The compiled (params, batch) → outputs of the task."""
    own = functools.partial(of_task, name=data.labelled.name) if data.labelled.name else lambda params: params
    return compiled(lambda params, batch: data.task.outputs(config.model, own(params), batch), mesh)


def read(run: Any, data: LabelledSet, split: str, params: Any, mesh: Any = None) -> Outputs:
    """The outputs for a split, in the order of its examples, or of their tokens."""
    encoded, rows = data.encoded(split), data.rows(split, seed=None)
    shards = sharding.batch_shards(mesh) if mesh else 1
    size = -(-min(ROWS, rows.rows) // shards) * shards
    # Outputs are read one batch late, so that the device always has work.
    found: dict[str, np.ndarray] = {}
    waiting: list[tuple[Mapping[str, np.ndarray], Any]] = []
    for first in range(0, rows.rows, size):
        batch = rows.batch(first, size)
        waiting.append((batch, run(params, put(batch, mesh))))
        if len(waiting) > 1:
            collect(found, *waiting.pop(0), encoded, data.task.level)
    for last, outputs in waiting:
        collect(found, last, outputs, encoded, data.task.level)
    return found


def collect(
    found: dict[str, np.ndarray], batch: Mapping[str, np.ndarray], outputs: Any, encoded: Any, level: str
) -> None:
    """Writes a batch's outputs to the positions of their examples, or tokens, among all."""
    there = batch["examples"] >= 0
    examples = batch["examples"][there]
    if level == "example":
        to, total, taken = examples, len(encoded.records), there
    else:
        lengths = encoded.lengths[examples]
        inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        to, total = np.repeat(encoded.offsets[examples], lengths) + inside, len(encoded.tokens)
        taken = batch["segments"] > 0
    for name, values in jax.device_get(outputs).items():
        if name not in found:
            found[name] = np.zeros((total, *values.shape[2:]), values.dtype)
        found[name][to] = values[taken]


def describe(figures: Mapping[str, Any]) -> str:
    """The figures, one a line."""
    own = {name: value for name, value in figures.items() if name.startswith(("dev_", "test_"))}
    return "\n".join(f"  {name:28}{value:8.4f}" for name, value in own.items())
