"""Training objectives, one a file: corruption and loss of one objective together.

`build(model, vocabulary, *, options) -> Objective`, whose functions run on the device inside the train step, and
`parts(model, *, options)`: what the objective trains beside the encoder, with those of the options that it needs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from bert_jax.config import Config
from bert_jax.modeling.parts import Parts
from configuration.variants import Variant, load, module, options_of

Batch = dict[str, jax.Array]
Means = dict[str, tuple[jax.Array, jax.Array]]  # what the log shows beside the loss: each a sum and its weight


class Vocabulary(NamedTuple):
    """What an objective needs to know of the tokenizer: sizes and ids."""

    size: int  # V
    pad: int
    cls: int
    sep: int
    mask: int


class Objective(NamedTuple):
    """The two functions of an objective.

    `corrupt(batch, key) -> batch` draws what is to be predicted, from the key and each row's place in the global batch
    alone, and `needs` these fields of it beside tokens, segments, positions and token_types. `loss(params, batch, key)
    -> (sum, weight, means)` gives sums over predictions, to be added over microbatches and the mesh before dividing.
    `means` has "accuracy", and what else there is to log.
    """

    corrupt: Callable[[Batch, jax.Array], Batch]
    loss: Callable[[Any, Batch, jax.Array | None], tuple[jax.Array, jax.Array, Means]]
    needs: tuple[str, ...] = ()


def parts_of(config: Config) -> Parts:
    """What the configured objective trains beside the encoder, by the names of their subtrees."""
    name, options = config.objective.name, config.objective.options
    known = options_of(module("bert_jax.objectives", name).parts)
    chosen = Variant(name, {option: value for option, value in options.items() if option in known})
    return load("bert_jax.objectives", chosen, "parts")(config.model)
