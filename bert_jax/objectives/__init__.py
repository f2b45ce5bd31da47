"""Training objectives, one a file: corruption and loss of one objective together.

`build(model, vocabulary, *, options) -> Objective`. Both functions run on the device inside the train step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

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
    """`corrupt(batch, key) -> batch` draws what is to be predicted, from the key and each row's place in the global
    batch alone; `loss(params, batch, key) -> (sum, weight, means)` gives sums over predictions, to be added over
    microbatches and the mesh before dividing. `means` has "accuracy", and what else there is to log."""

    corrupt: Callable[[Batch, jax.Array], Batch]
    loss: Callable[[Any, Batch, jax.Array | None], tuple[jax.Array, jax.Array, Means]]
