"""What is shown instead of predicted tokens: one way a file, named by `objective.replacement`.

`build(vocabulary, *, options) -> Replacement`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax

from bert_jax.objectives import Batch
from bert_jax.objectives.masking import Chosen
from configuration.variants import ConfigError


class Replacement(NamedTuple):
    """`replace(targets, chosen, batch, key) -> shown`: targets and shown int [B, P]; the batch as it was read."""

    replace: Callable[[jax.Array, Chosen, Batch, jax.Array], jax.Array]
    needs: tuple[str, ...] = ()  # fields of the batch beside tokens, segments, positions and token_types


def check_shares(**shares: float) -> None:
    """Raises ConfigError if one of these options of a replacement is no share, or if their sum is none."""
    for name, share in {**shares, " + ".join(shares): sum(shares.values())}.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"config.objective.replacement.{name} is {share}; it must be a share between 0 and 1")
