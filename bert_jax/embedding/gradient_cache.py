"""Losses of the whole batch with microbatches (GradCache, Gao et al. 2021, arXiv 2101.06983, section 3).

A loss with in-batch negatives is not a sum over microbatches. So the vectors of all microbatches are computed first,
without storing activations; the loss over all of them gives each vector's gradient; and each microbatch is encoded
again and backpropagates its vectors' gradients. The gradient is that of one big batch, at the cost of one more forward
pass.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.runtime import sharding

Batch = dict[str, jax.Array]
Encode = Callable[[Any, Batch, jax.Array | None], jax.Array]  # params, some rows, key → vectors [b, ...]
Value = Callable[[Any, jax.Array, Batch], tuple[jax.Array, dict[str, jax.Array]]]  # as of `losses.Loss`
GRADIENT = "vector_gradient"  # the field of the batch that carries them


def gradients(
    encode: Encode, value: Value, params: Any, batch: Batch, key: jax.Array | None, parts: int
) -> tuple[Any, dict[str, jax.Array]]:
    """Gradients of a loss of the global batch's vectors, and its metrics with the loss.

    Args:
      encode: rows' vectors; a row's do not depend on the other rows.
      value: the loss of the vectors of all rows; also of `params`, if it has some of its own.
      key: of dropout: each part has a key of its own, the same in both its forward passes; None for none.
      parts: microbatches; they divide the rows, and on a mesh the rows of each part are as many on each device.
    """

    def whole(params: Any, vectors: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        loss, metrics = value(params, vectors, batch)
        return loss, {"loss": loss, **metrics}

    if parts == 1:
        return jax.grad(lambda params: whole(params, encode(params, batch, key)), has_aux=True)(params)
    keys = jax.random.split(jax.random.key(0) if key is None else key, parts)
    dropout = lambda own: None if key is None else own

    def forward(_: None, part: tuple[Batch, jax.Array]) -> tuple[None, jax.Array]:
        return None, encode(params, part[0], dropout(part[1]))

    def backward(params: Any, constants: Any, batch: Batch, keys: jax.Array) -> Any:
        del constants

        def add(total: Any, part: tuple[Batch, jax.Array]) -> tuple[Any, None]:
            rows, own = part
            _, pull = jax.vjp(lambda params: encode(params, rows, dropout(own)), params)
            return jax.tree.map(jnp.add, total, pull(rows[GRADIENT])[0]), None

        return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), (split(batch, parts), keys))[0]

    vectors = join(jax.lax.scan(forward, None, (split(batch, parts), keys))[1])
    (own, of_vectors), metrics = jax.grad(whole, (0, 1), has_aux=True)(params, vectors)
    through = sharding.per_replica(backward)(params, (), batch | {GRADIENT: of_vectors}, keys)
    return jax.tree.map(jnp.add, own, through), metrics


def split(batch: Batch, parts: int) -> Batch:
    """Arrays [B, ...] → [parts, B / parts, ...]: row r goes to part r mod `parts`, so that devices keep their rows."""
    return {name: jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0) for name, x in batch.items()}


def join(x: jax.Array) -> jax.Array:
    """[parts, b, ...] → [B, ...], the reverse of `split`."""
    return jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[2:])
