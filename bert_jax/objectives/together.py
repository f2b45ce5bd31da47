"""Several objectives on one encoder, each with rows of its own in every batch: the weighted sum of their losses.

Every batch has rows of every task, so that no update follows one task alone, as Aghajanyan et al. 2021 (MUPPET, arXiv
2101.11038, section 3) found needed, where Liu et al. 2019 (MT-DNN, arXiv 1901.11504) draw a batch of one task. The
pooler, which comes with the encoder, is shared; each task's head is its own, in the parameters under the task's name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from bert_jax.config import Model
from bert_jax.modeling import bert
from bert_jax.modeling.parts import Parts, together
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, given
from configuration.variants import ConfigError, Variant, load, names

SHARED = ("pooler",)


def parts(model: Model, *, tasks: Sequence[Variant] = (), called: Sequence[str] = ()) -> Parts:
    """What is shared, and what each task has of its own, under its name.

    Raises:
      ConfigError: a task has the name of a part of the model.
    """
    found: dict[str, Any] = {}
    for name, task in zip(called, tasks, strict=True):
        if name in bert.encoder_parts(model) or name in names("bert_jax.modeling.heads"):
            raise ConfigError(f"a task is called {name!r}, as a part of the model is; give it another name")
        wanted = given(task, "parts")(model)
        found |= {part: wanted[part] for part in SHARED if part in wanted}
        found[name] = together({part: each for part, each in wanted.items() if part not in SHARED})
    return found


def build(
    model: Model,
    vocabulary: Vocabulary,
    *,
    tasks: Sequence[Variant] = (),
    called: Sequence[str] = (),
    weights: Sequence[float] = (),
) -> Objective:
    """The objective.

    Args:
      tasks: objectives, each of which reads the batch fields that begin with its name and "/", of shape [B, n, …]: n
        rows of the task in every row of the batch.
      called: their names.
      weights: of their losses in the sum.
    """
    each = {
        name: load("bert_jax.objectives", task)(model, vocabulary) for name, task in zip(called, tasks, strict=True)
    }
    weight = dict(zip(called, weights, strict=True))

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        found = dict(batch)
        for number, (name, objective) in enumerate(each.items()):
            rows = batch["segments"].shape[0]
            own = objective.corrupt(rows_of(batch, name), key_of(key, number))
            found |= {f"{name}/{field}": x.reshape(rows, -1, *x.shape[1:]) for field, x in own.items()}
        return found

    def loss(params: Any, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        total: jax.Array = jax.numpy.float32(0)
        metrics: Metrics = {}
        for number, (name, objective) in enumerate(each.items()):
            own = None if key is None else key_of(key, number)
            value, said = objective.loss(of_task(params, name), constants[name], rows_of(batch, name), own)
            total = total + weight[name] * value
            metrics |= {f"{name}_{metric}": x for metric, x in {"loss": value, **said}.items()}
        return total, metrics

    needs = tuple(f"{name}/{field}" for name, objective in each.items() for field in objective.needs)
    return Objective(corrupt, loss, needs, {name: objective.constants for name, objective in each.items()})


def encoders(
    model: Model, params: Mapping[str, Any], *, called: Sequence[str] = ()
) -> Mapping[str, tuple[Model, dict[str, Any]]]:
    """The encoder with the head of each task."""
    kept = bert.encoder_parts(model).keys() | set(SHARED)
    shared = {name: part for name, part in params.items() if name in kept}
    return {name: (model, shared | params[name]) for name in called}


def of_task(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The parameters as a task's own objective expects them."""
    return {**params, **params[name]}


def rows_of(batch: Batch, name: str) -> Batch:
    """The rows of a task, as its own objective expects them."""
    own = {field.removeprefix(f"{name}/"): x for field, x in batch.items() if field.startswith(f"{name}/")}
    return {field: x.reshape(-1, *x.shape[2:]) for field, x in own.items()}


def key_of(key: jax.Array, number: int) -> jax.Array:
    """A task's own key; that of the first is the run's, so that one task alone learns as it does without this file."""
    return jax.random.fold_in(key, number) if number else key
