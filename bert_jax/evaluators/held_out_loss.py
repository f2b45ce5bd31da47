"""The loss and metrics of the last phase's own objective on held-out rows: works for any objective.

What is corrupted depends on `config.evaluation.seed` alone. There is no dropout.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import Config
from bert_jax.evaluators import Evaluator, Figures, compiled, held_out, rows_in
from bert_jax.runtime import sharding
from bert_jax.training.setup import make_objective
from data_pipeline.store import Store

FIRST = "held_out_"  # what each of the objective's metrics is called after


def build(config: Config, store: Store, mesh: Any) -> Evaluator:
    """held_out_loss, held_out_accuracy, … as the objective names them: means over batches, weighted by their rows."""
    objective, rows_wanted = make_objective(config, store), config.evaluation.max_rows
    constants = jax.device_put(objective.constants, sharding.everywhere(mesh)) if mesh else objective.constants

    def means_of(params: Any, constants: Any, batch: Any, number: Any) -> dict[str, jax.Array]:
        key = jax.random.fold_in(jax.random.key(config.evaluation.seed), number)
        loss, metrics = objective.loss(params, constants, objective.corrupt(batch, key), None)
        return {"loss": loss, **jax.tree.map(jnp.asarray, metrics)}

    run = compiled(means_of, mesh)

    def evaluate(params: Any) -> Figures:
        rows, sums = 0, dict[str, float]()
        for number, batch in enumerate(held_out(config, store, rows_wanted, mesh, objective.needs)):
            count = rows_in(batch)
            for name, value in jax.device_get(run(params, constants, batch, np.int32(number))).items():
                sums[name] = sums.get(name, 0.0) + float(value) * count
            rows += count
        return {FIRST + name: value / rows for name, value in sums.items()} | {f"{FIRST}rows": rows}

    return Evaluator(evaluate, describe, f"{FIRST}loss", cheap=True)


def describe(figures: Mapping[str, Any]) -> str:
    """The figures, one a line."""
    own = {name.removeprefix(FIRST): value for name, value in figures.items() if name.startswith(FIRST)}
    rows = own.pop("rows")
    return "\n".join(f"  {name:28}{value:8.4f}   ({rows:,} rows)" for name, value in own.items())
