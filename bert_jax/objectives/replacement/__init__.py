"""What stands in the places of predicted tokens: one way a file, named by `objective.replacement`.

`build(vocabulary, *, options) -> Replace`: (targets int [B, P], batch, key) → the tokens that are shown, int [B, P].
"""

from collections.abc import Callable

import jax

from bert_jax.objectives import Batch

Replace = Callable[[jax.Array, Batch, jax.Array], jax.Array]
