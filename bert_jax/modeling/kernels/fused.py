"""Our Pallas kernel for TPU with dropout on the probabilities: O(L) memory, windows, queries at any places of a row.

For models that add nothing by distance. Without dropout splash is the faster.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.modeling.kernels import Addition, Kernel, Request
from bert_jax.modeling.kernels._rows import LANES, LONGEST, Plan, dot
from bert_jax.modeling.kernels._rows import attend as attend_rows
from bert_jax.modeling.visibility import Visibility


def build(*, interpret: bool = False, block: int = LANES) -> Kernel:
    """The kernel.

    Args:
      interpret: run it step by step on any device, for tests.
      block: queries that are computed at a time; a multiple of 128 on TPU.
    """
    return Kernel(
        functools.partial(unsupported, interpret=interpret),
        functools.partial(attend, interpret=interpret, block=block),
        preference={"tpu": 1},
    )


def unsupported(request: Request, *, interpret: bool = False) -> str | None:
    """None, or why not."""
    if request.platform != "tpu" and not interpret:
        return f"fused runs on TPU, not on {request.platform}"
    if request.ranks:
        return "fused takes no order of keys but both directions"
    if request.length > LONGEST:
        return f"fused takes rows of up to {LONGEST} tokens, not of {request.length}"
    if request.needs != "nothing":
        return f"fused takes no {request.needs} by distance, which these positions need"
    return None


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    visibility: Visibility,
    *,
    scale: float,
    addition: Addition = None,
    rate: float = 0.0,
    key: jax.Array | None = None,
    interpret: bool = False,
    block: int = LANES,
) -> jax.Array:
    """q [B, P, N, H], k [B, L, N, H], v [B, L, N, G] → [B, P, N, G].

    The rest is in `xla.attend`; `unsupported` tells what must not be asked.
    """
    assert addition is None
    plan = Plan("fused", Plain(), scale, block, rate, visibility.window, interpret)
    return attend_rows(plan, q, k, v, visibility, key)


class Plain(NamedTuple):
    """Nothing is added by distance."""

    def constants(self, size: int, dtype: jnp.dtype) -> tuple[jax.Array, ...]:
        del size, dtype
        return ()

    def operand(self, y: Any, *constants: Any) -> jax.Array:
        del constants
        return y[...]

    def block(self, rows: slice, *constants: Any) -> "_Block":
        del constants
        return _Block(rows)

    def products(self, queries: int, keys: int, backward: bool) -> tuple[int, int]:
        return (5 if backward else 2) * queries * keys, 0


class _Block(NamedTuple):
    rows: slice

    def pairs(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return dot(x.astype(y.dtype), y, 1, 1)

    def sums(self, weights: jax.Array, y: jax.Array) -> jax.Array:
        return dot(weights.astype(y.dtype), y, 1, 0)
