"""Which tokens of a row are predicted: one way a file, `build(*, options) -> Masking`, named by `objective.masking`."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from bert_jax.objectives import Batch


class Chosen(NamedTuple):
    """The predicted tokens of B rows, P slots each; those with weight come first, from left to right."""

    places: jax.Array  # int [B, P], all different in a row, P = max(1, round(rate · L))
    weights: jax.Array  # float [B, P]: 1 for what is predicted, 0 for the slots that are left
    units: jax.Array  # int [B, P]: the place where the unit of each starts: a token, a word, a span


class Masking(NamedTuple):
    """`choose(batch, candidates, rate, key) -> Chosen`, for candidates bool [B, L], the tokens of text.

    At most as many are predicted as the rate asks of the row's candidates.
    """

    choose: Callable[[Batch, jax.Array, float, jax.Array], Chosen]
    needs: tuple[str, ...] = ()  # fields of the batch beside tokens, segments, positions and token_types
