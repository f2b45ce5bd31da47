"""Which tokens of a row are predicted: one way a file, `build(*, options) -> Masking`, named by `objective.masking`."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from bert_jax.objectives import Batch


class Masking(NamedTuple):
    """`choose(batch, candidates, rate, key) -> (places, weights)`, for candidates bool [B, L], the tokens of text.

    places int [B, P] are all different in a row, P = max(1, round(rate · L)); weights float [B, P] are 1 for those that
    are predicted, at most as many as the rate asks of the row's candidates, and 0 for the others.
    """

    choose: Callable[[Batch, jax.Array, float, jax.Array], tuple[jax.Array, jax.Array]]
    needs: tuple[str, ...] = ()  # fields of the batch beside tokens, segments, positions and token_types
