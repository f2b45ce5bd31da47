"""Which tokens of a row are predicted: one way a file, `build(*, options) -> Masking`, named by `objective.masking`."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from bert_jax.objectives import Batch


class Chosen(NamedTuple):
    """The predicted tokens of B rows, P slots each; those with weight come first, from left to right."""

    places: jax.Array  # int [B, P], all different in a row
    weights: jax.Array  # float [B, P]: 1 for what is predicted, 0 for the slots that are left
    units: jax.Array  # int [B, P]: the position where the unit of each starts: a token, a word, a span


class Budget(NamedTuple):
    """How many tokens of each row are predicted."""

    slots: int  # P, of every row and at every step
    wanted: jax.Array  # int32 [B], at most P, and at least one where there is any candidate


class Masking(NamedTuple):
    """`choose(batch, candidates, budget, key) -> Chosen`, for candidates bool [B, L], the tokens of text.

    At most as many are predicted as the budget says.
    """

    choose: Callable[[Batch, jax.Array, Budget, jax.Array], Chosen]
    needs: tuple[str, ...] = ()  # fields of the batch beside tokens, segments, positions and token_types
