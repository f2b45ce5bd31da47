"""Evaluators, one a file: figures of some weights on held-out documents.

`build(config, store, mesh, *, options) -> Evaluator`, where `mesh` is None for this process's first device.
`config.evaluators` lists those that `python -m bert_jax.evaluate` runs. Those that are `cheap` also run during
training, every `config.eval_every` steps. A file may have `unsupported(config) -> str`, the reason why it
cannot serve a run.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from bert_jax.config import Config
from bert_jax.runtime import sharding
from configuration.variants import ConfigError, Variant, load, module, use
from data_pipeline.batches import pipeline
from data_pipeline.store import Store

F = TypeVar("F", bound=Callable[..., Any])
Figures = dict[str, float]
PACKAGE = "bert_jax.evaluators"


class Evaluator(NamedTuple):
    """`evaluate(params)` gives figures by name, and `describe(figures)` some lines of a table."""

    evaluate: Callable[[Any], Figures]
    describe: Callable[[Mapping[str, Any]], str]
    main: str = ""  # main figure, lowest is best, unless config.best_metric names another
    cheap: bool = False  # takes a forward pass over each row, not more


def listed(config: Config) -> tuple[list[Variant], list[str]]:
    """The evaluators that serve this run, and a line for each of `config.evaluators` that does not.

    Where none of them does, as with an objective without a masked-language-model head, it is held_out_loss.
    """
    why = {variant: _unsupported(config, variant) for variant in config.evaluators}
    serving = [variant for variant, reason in why.items() if not reason]
    said = [f"left out the evaluator {variant.name}: {reason}" for variant, reason in why.items() if reason]
    return serving or [use("held_out_loss")], said


def _unsupported(config: Config, variant: Variant) -> str:
    file = module(PACKAGE, variant.name)
    return file.unsupported(config) if hasattr(file, "unsupported") else ""


def build(config: Config, store: Store, mesh: jax.sharding.Mesh | None = None) -> dict[str, Evaluator]:
    """The evaluators that serve this run, by name.

    Raises:
      ConfigError: there is no such file, or an option is wrong.
    """
    return {variant.name: load(PACKAGE, variant)(config, store, mesh) for variant in listed(config)[0]}


def during_training(config: Config, store: Store, mesh: jax.sharding.Mesh) -> tuple[Callable[[Any, int], Figures], str]:
    """The cheap evaluators together, on `config.eval_rows` rows, and the first one's main figure.

    The function takes parameters and the number of updates that made them, whose phase says how they are read.

    Raises:
      ConfigError: none of them is cheap.
    """
    rows = dataclasses.replace(config.evaluation, max_rows=config.eval_rows)
    run = dataclasses.replace(config, evaluation=rows)

    @functools.cache
    def cheap(run: Config) -> list[Evaluator]:
        return [each for each in build(run, store, mesh).values() if each.cheap]

    if not cheap(run.as_of(0)):
        named = ", ".join(variant.name for variant in listed(run)[0])
        raise ConfigError(
            f"config.eval_every is {config.eval_every}, but none of config.evaluators ({named}) is cheap "
            "enough to run during training: add held_out_loss, or set it to 0"
        )

    def together(params: Any, step: int) -> Figures:
        return {name: value for each in cheap(run.as_of(step)) for name, value in each.evaluate(params).items()}

    return together, cheap(run.as_of(0))[0].main


def describe(name: str, figures: Mapping[str, Any]) -> str:
    """The evaluator's figures as lines of a table."""
    return module(PACKAGE, name).describe(figures)


def held_out(
    config: Config, store: Store, rows: int, mesh: jax.sharding.Mesh | None, needs: Collection[str] = ()
) -> Iterator[Any]:
    """At most `rows` rows of the held-out documents, evenly spread, in batches; on the mesh, if there is one.

    Args:
      needs: batch fields of an objective; a batch has the store's annotations among them.
    """
    shards = sharding.batch_shards(mesh) if mesh else 1
    batches = pipeline.evaluation_batches(
        store.split("held_out"),
        config.data.rows,
        config.evaluation_length,
        -(-config.evaluation.batch_size // shards) * shards,
        pipeline.specials_of(store.tokenizer),
        max_rows=rows,
        isolate=config.model.isolate_documents,
        annotations=[name for name in needs if name in store.annotations],
    )
    return (put(batch, mesh) for batch in batches)


def put(batch: Mapping[str, np.ndarray], mesh: jax.sharding.Mesh | None) -> Any:
    """A batch that every process has whole, split over the mesh; without one, as it is."""
    if mesh is None:
        return batch
    here, processes = jax.process_index(), jax.process_count()
    share = lambda rows: len(rows) // processes
    own = {name: rows[here * share(rows) : (here + 1) * share(rows)] for name, rows in batch.items()}
    return sharding.put_batch(own, mesh)


def compiled(function: F, mesh: jax.sharding.Mesh | None) -> F:
    """`function(params, …)`, a tree of sums over rows, compiled; every process can read what it gives."""
    if mesh is None:
        return jax.jit(function)  # type: ignore[return-value]
    whole = lambda params, *arguments: function(sharding.word_embeddings_per_shard(params), *arguments)
    return jax.jit(  # type: ignore[return-value]
        sharding.on_mesh(mesh, whole), out_shardings=sharding.everywhere(mesh)
    )


def rows_in(batch: Mapping[str, Any]) -> int:
    """Rows of a batch that are not padding."""
    return int(jax.device_get((batch["segments"] > 0).any(1).sum()))
