"""A task's scores on labelled examples that are kept from training: those of the split `dev`, or of another."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from bert_jax.config import Config
from bert_jax.evaluators import Evaluator, Figures, compiled, put
from bert_jax.runtime import sharding
from bert_jax.tasks import Outputs
from bert_jax.training.labelled import LabelledSet

ROWS = 64  # evaluated at a time


def build(config: Config, store: Any, mesh: Any, *, split: str = "dev") -> Evaluator:
    """dev_accuracy, … as the task names them."""
    data: LabelledSet = store
    run = reader(config, data, mesh)

    def evaluate(params: Any) -> Figures:
        outputs = read(run, data, split, params, mesh)
        found = data.task.scores(outputs, data.encoded(split), data.records[split])
        return {f"{split}_{name}": value for name, value in found.items()}

    return Evaluator(evaluate, describe, f"{split}_{data.task.main}", cheap=True)


def unsupported(config: Config) -> str:
    """Why there are no labelled examples."""
    return "" if config.labelled else "the run reads no labelled examples"


def reader(config: Config, data: LabelledSet, mesh: Any = None) -> Any:
    """The compiled (params, batch) → outputs of the task."""
    return compiled(lambda params, batch: data.task.outputs(config.model, params, batch), mesh)


def read(run: Any, data: LabelledSet, split: str, params: Any, mesh: Any = None) -> Outputs:
    """The outputs for a split, in the order of its examples, or of their tokens."""
    encoded, rows = data.encoded(split), data.rows(split, seed=None)
    shards = sharding.batch_shards(mesh) if mesh else 1
    size = -(-min(ROWS, rows.rows) // shards) * shards
    # What is read is asked for one batch late, so that the device always has one to do.
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
    """Puts a batch's outputs where their examples, or tokens, stand among all."""
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
