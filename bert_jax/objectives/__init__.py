"""Training objectives, one a file: corruption and loss of one objective together.

`build(model, vocabulary, *, options) -> Objective`, whose functions run on the device inside the train step, and
`parts(model, *, options)`: what the objective trains beside the encoder, with the options that it needs.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.config import Config, Model
from bert_jax.embedding.readout import Readout
from bert_jax.modeling.parts import Part, Parts
from configuration.variants import ConfigError, Variant, load, module, options_of

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]  # what the log shows beside the loss: scalars that add over microbatches and shards


class Vocabulary(NamedTuple):
    """What an objective needs to know of the tokenizer: sizes and ids."""

    size: int  # V
    pad: int
    cls: int
    sep: int
    mask: int


class Moment(NamedTuple):
    """Progress of the run: the field "moment" of a batch in training; evaluation has none."""

    step: jax.Array  # int32 [], updates of the run that are done
    steps: int  # of the run
    phase_step: jax.Array  # int32 [], updates of the phase that are done
    key: jax.Array  # random, the same at every step of the run


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
    place in that batch alone, and writes weights that are divided by their total over it already (`normalized`). What
    changes during a run reads `batch["moment"]`, a `Moment`, which the train step removes again.
    `loss(params, constants, batch, key) -> (loss, metrics)` sees some rows of it, with the key of dropout or None: its
    values, weighted sums, simply add over microbatches and the mesh, so that several terms do too. `metrics` has
    "accuracy", and what else there is to log.
    """

    corrupt: Callable[[Batch, jax.Array], Batch]
    loss: Callable[[Any, Any, Batch, jax.Array | None], tuple[jax.Array, Metrics]]
    needs: tuple[str, ...] = ()  # fields of a batch beside tokens, segments, positions and token_types
    constants: Any = ()  # arrays that the loss reads and nothing trains or saves: a teacher, a table
    whole_batch: WholeBatch | None = None  # how microbatches compute a `loss` that must see all rows at once


def moment_of(batch: Mapping[str, Any]) -> Moment | None:
    """The progress of the run; None in evaluation."""
    return batch.get("moment")


def normalized(weights: jax.Array) -> jax.Array:
    """Weights of the global batch divided by their total; zeros stay zeros."""
    total = weights.sum()
    return weights / jnp.where(total > 0, total, 1)


def parts_of(config: Config) -> Parts:
    """What the objectives of all phases train beside the encoder, by the names of their subtrees.

    Raises:
      ConfigError: two phases have parts of one name that differ.
    """
    return joined([own_parts(objective, config.model) for objective in distinct(config.objectives)])


def exported_names(config: Config) -> Mapping[str, str]:
    """The names in PyTorch's layout of what the objectives' own parts hold, by path, joined by "/"."""
    found = [own_names(objective, config.model) for objective in distinct(config.objectives)]
    return {name: theirs for names in found for name, theirs in names.items()}


def encoders_of(config: Config, params: Mapping[str, Any]) -> Mapping[str, tuple[Model, dict[str, Any]]]:
    """Other encoders than the model that the objectives train with it, by name, each with its parameters."""
    found = [own_encoders(objective, config.model, params) for objective in distinct(config.objectives)]
    return {name: encoder for encoders in found for name, encoder in encoders.items()}


def distinct(objectives: Iterable[Variant]) -> list[Variant]:
    """The objectives, each once, in order of first occurrence."""
    found: list[Variant] = []
    for objective in objectives:
        if objective not in found:
            found.append(objective)
    return found


def own_parts(objective: Variant, model: Model) -> Parts:
    """What one objective trains beside the encoder."""
    return given(objective, "parts")(model)


def own_names(objective: Variant, model: Model) -> Mapping[str, str]:
    """One objective's `exported`; without that function its own parts are left out of an export."""
    return given(objective, "exported")(model) if _has(objective, "exported") else {}


def own_encoders(
    objective: Variant, model: Model, params: Mapping[str, Any]
) -> Mapping[str, tuple[Model, dict[str, Any]]]:
    """One objective's `encoders`; without that function it has none."""
    return given(objective, "encoders")(model, params) if _has(objective, "encoders") else {}


def joined(groups: Iterable[Parts]) -> Parts:
    """The parts of several objectives; those of one name are one part, which they share.

    Raises:
      ConfigError: they differ in their arrays.
    """
    found: dict[str, Part] = {}
    for parts in groups:
        for name, part in parts.items():
            if name in found and _shapes(found[name]) != _shapes(part):
                raise ConfigError(
                    f"config.objective: two objectives of this run have a part {name!r} each, with other arrays: give "
                    "both the options that make it the same"
                )
            found.setdefault(name, part)
    return found


def own_readout(objective: Variant, model: Model, params: Mapping[str, Any]) -> Readout | None:
    """How vectors are read from an encoder that was trained for them; None where the objective says nothing."""
    return given(objective, "readout")(model, params) if _has(objective, "readout") else None


def _shapes(part: Part) -> Any:
    return jax.tree.map(lambda x: x.shape, jax.eval_shape(part.init, jax.random.key(0)))


def _has(objective: Variant, function: str) -> bool:
    return hasattr(module("bert_jax.objectives", objective.name), function)


def given(objective: Variant, function: str) -> Callable[..., Any]:
    """A function of an objective's file, with the options that it accepts."""
    known = options_of(getattr(module("bert_jax.objectives", objective.name), function))
    chosen = Variant(objective.name, {name: value for name, value in objective.options.items() if name in known})
    return load("bert_jax.objectives", chosen, function)
