"""Training objectives, one a file: corruption and loss of one objective together.

`build(model, vocabulary, *, options) -> Objective`, whose functions run on the device inside the train step, and
`parts(model, *, options)`: what the objective trains beside the encoder, with those of the options that it needs.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.config import Config, Model
from bert_jax.embedding.readout import Readout
from bert_jax.modeling.parts import Parts
from configuration.variants import Variant, load, module, options_of

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]  # what the log shows beside the loss: scalars that add over microbatches and shards


class Vocabulary(NamedTuple):
    """What an objective needs to know of the tokenizer: sizes and ids."""

    size: int  # V
    pad: int
    cls: int
    sep: int
    mask: int


class WholeBatch(NamedTuple):
    """A loss that does not add up over rows, such as one with negatives from the whole batch, in two functions.

    `encode(params, batch, key) -> vectors [b, ...]` sees some rows, and a row's vectors do not depend on the others.
    `value(params, vectors [B, ...], batch) -> (loss, metrics)` sees those of the global batch.
    """

    encode: Callable[[Any, Batch, jax.Array | None], jax.Array]
    value: Callable[[Any, jax.Array, Batch], tuple[jax.Array, Metrics]]


class Objective(NamedTuple):
    """The two functions of an objective.

    `corrupt(batch, key) -> batch` sees the global batch. It draws what is to be predicted, from the key and each row's
    place in that batch alone, and writes weights that are divided by their total over it already (`normalized`).
    `loss(params, constants, batch, key) -> (loss, metrics)` sees some rows of it, with the key of dropout or None: its
    values, weighted sums, simply add over microbatches and the mesh, so that several terms do too. `metrics` has
    "accuracy", and what else there is to log.
    """

    corrupt: Callable[[Batch, jax.Array], Batch]
    loss: Callable[[Any, Any, Batch, jax.Array | None], tuple[jax.Array, Metrics]]
    needs: tuple[str, ...] = ()  # fields of a batch beside tokens, segments, positions and token_types
    constants: Any = ()  # arrays that the loss reads and nothing trains or saves: a teacher, a table
    whole_batch: WholeBatch | None = None  # how microbatches compute a `loss` that must see all rows at once


def normalized(weights: jax.Array) -> jax.Array:
    """Weights of the global batch divided by their total; zeros stay zeros."""
    total = weights.sum()
    return weights / jnp.where(total > 0, total, 1)


def parts_of(config: Config) -> Parts:
    """What the configured objective trains beside the encoder, by the names of their subtrees."""
    return _given(config.objective, "parts")(config.model)


def exported_names(config: Config) -> Mapping[str, str]:
    """The names in PyTorch's layout of what the objective's own parts hold, by path in the parameters, joined by "/".

    An objective without a function `exported` has none, and its own parts are left out of an export.
    """
    if not hasattr(module("bert_jax.objectives", config.objective.name), "exported"):
        return {}
    return _given(config.objective, "exported")(config.model)


def encoders_of(config: Config, params: Mapping[str, Any]) -> Mapping[str, tuple[Model, dict[str, Any]]]:
    """Other encoders than the model that the objective trains with it, by name, each with its parameters.

    An objective without a function `encoders` has none.
    """
    if not hasattr(module("bert_jax.objectives", config.objective.name), "encoders"):
        return {}
    return _given(config.objective, "encoders")(config.model, params)


def readout_of(config: Config, params: Mapping[str, Any]) -> Readout | None:
    """How vectors are read from an encoder that was trained for them; None where the objective says nothing."""
    if not hasattr(module("bert_jax.objectives", config.objective.name), "readout"):
        return None
    return _given(config.objective, "readout")(config.model, params)


def _given(objective: Variant, function: str) -> Callable[..., Any]:
    """A function of the objective's file, with those of the options that it takes."""
    known = options_of(getattr(module("bert_jax.objectives", objective.name), function))
    chosen = Variant(objective.name, {name: value for name, value in objective.options.items() if name in known})
    return load("bert_jax.objectives", chosen, function)
