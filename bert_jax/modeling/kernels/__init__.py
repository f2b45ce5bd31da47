"""Attention kernels, one a file: `build() -> Kernel`; `modeling/choice.py` finds the one that fits.

A kernel computes, for q [B, P, N, H], k [B, L, N, H] and v [B, L, N, G],

    softmax(scale · q kᵀ, over the keys that a query sees) · v        → [B, P, N, G]

where a `Visibility` says what a query sees, with optional dropout on the probabilities and one of the additions below,
which carry a position scheme. What it does not support is refused with a reason, before anything compiles.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import jax


class Sinusoids(NamedTuple):
    """Vectors that are added to keys and values: the sinusoid of the distance d = key − query.

    That of clip(d, −K, K) + K where K, the `distance`, is above 0, and else of d; column 2m holds the sine and column
    2m + 1 the cosine, as `positions._sinusoids` has them.
    """

    distance: int


class Vectors(NamedTuple):
    """Vectors that are added to keys and values by distance: row clip(d, −K, K) + K of a table."""

    table: jax.Array  # float32 [2K+1, H]


class Columns(NamedTuple):
    """Further columns of keys and values, the same in all rows and heads: a vector for each place.

    The queries have as many columns after those of the keys, and the output after those of the values.
    """

    table: jax.Array  # float32 [L, E]


class Bias(NamedTuple):
    """Numbers that are added to the scaled scores by distance: column clip(d, −K, K) + K of each head's row."""

    by_distance: jax.Array  # float32 [N, 2K+1]


class Products(NamedTuple):
    """Products of queries and of keys with vectors by distance, which are added to the scores before they are scaled.

    For query i and key j: q_i · keys[r] + k_j · queries[r], where r = rows[clip(j − i, −K, K) + K]. A table may be
    None, which adds nothing.
    """

    rows: jax.Array  # int [2K+1], by distance
    keys: jax.Array | None  # [R, N, H], multiplied with queries
    queries: jax.Array | None  # [R, N, H], multiplied with keys


Addition = Sinusoids | Columns | Vectors | Bias | Products | None
Needs = Literal["nothing", "sinusoids", "columns", "vectors", "bias", "products"]  # of a form of a position scheme


@dataclasses.dataclass(frozen=True)
class Request:
    """What a model asks of a kernel."""

    platform: str  # cpu, gpu or tpu
    length: int  # L
    head_size: int  # H of the queries and keys, in the kernel's input
    dtype: str
    training: bool = False  # gradients are taken
    dropout: bool = False  # on the attention probabilities
    needs: Needs = "nothing"
    ranks: bool = False  # keys have ranks and queries limits
    window: int | None = None
    local: bool = False  # for the layers that attend within `model.window`, whose positions may differ
    elsewhere: bool = False  # queries stand at some places only, or in another sequence than the keys


class Kernel(NamedTuple):
    """`unsupported(request)` gives None or the reason why not; `attend` is the function described above."""

    unsupported: Callable[[Request], str | None]
    attend: Callable[..., jax.Array]
    preference: Mapping[str, int]  # by platform, or "any": of those that can, `auto` takes the one with the highest
