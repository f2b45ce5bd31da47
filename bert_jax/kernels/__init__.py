"""Attention kernels, one a file: `build() -> Kernel`; `choose` finds the one that fits.

A kernel computes, for q, k [B, L, N, H] and v [B, L, N, G],

    softmax(scale · q kᵀ, over keys of the same segment) · v        → [B, L, N, G]

with optional dropout on the probabilities and optional vectors that are added to keys and values by clipped
distance (`Relative`). It refuses, by name and reason, what it cannot do, before anything compiles.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
from flax import nnx

from bert_jax.config import Model
from bert_jax.variants import ConfigError, load, use

FASTEST_FIRST = {"cpu": ("xla",), "gpu": ("xla",), "tpu": ("xla",)}


@dataclasses.dataclass(frozen=True)
class Request:
    """What a model asks of a kernel."""

    platform: str  # cpu, gpu or tpu
    length: int  # L
    head_size: int  # H of the queries and keys, in the kernel's input
    dtype: str
    dropout: bool
    relative: bool  # whether there is a relative table


class Relative(NamedTuple):
    """Vectors that are added to keys and values by the distance d = key − query: row clip(d, −K, K) + K of a table."""

    table: jax.Array  # float32 [2K+1, H]
    sinusoid: bool  # whether row p holds sin(p w_m) and cos(p w_m) in columns 2m and 2m+1, w_m = 10000^(−2m/H)


class Kernel(NamedTuple):
    """`refuse(request)` gives None or the reason why not; `attend` is the function described above."""

    refuse: Callable[[Request], str | None]
    attend: Callable[..., jax.Array]
    fewer_queries: bool = False  # whether q may be [B, P, N, H], with segments of its own [B, P]


def choose(model: Model, request: Request) -> tuple[str, Kernel]:
    """The kernel that `model.kernel` names, or the fastest on this platform that can do what is asked.

    Raises:
      ConfigError: the named kernel cannot; the message says why.
    """
    if model.kernel.name != "auto":
        kernel = load("bert_jax.kernels", model.kernel)()
        reason = kernel.refuse(request)
        if reason:
            raise ConfigError(
                f"config.model.kernel is {model.kernel.name!r}, which cannot do this: {reason}; "
                "'auto' picks one that can"
            )
        return model.kernel.name, kernel
    for name in FASTEST_FIRST.get(request.platform, ("xla",)):
        kernel = load("bert_jax.kernels", use(name))()
        if kernel.refuse(request) is None:
            return name, kernel
    raise ConfigError(f"config.model.kernel is 'auto', but no kernel does {request}")


def request_for(model: Model, length: int, dropout: bool) -> Request:
    """What `model` asks of a kernel for rows of `length` tokens on this process's platform."""
    positions = load("bert_jax.positions", model.positions)()
    scheme = nnx.eval_shape(lambda: positions(model, rngs=nnx.Rngs(params=0)))
    q = jax.ShapeDtypeStruct((1, length, model.heads, model.head_size), model.dtype)
    tables = jax.eval_shape(lambda: scheme.tables(length))
    q, _, _ = jax.eval_shape(scheme.before, q, q, q, tables)
    return Request(
        platform=jax.default_backend(),
        length=length,
        head_size=q.shape[-1],
        dtype=model.dtype,
        dropout=dropout and model.attention_dropout > 0,
        relative=scheme.relative(tables) is not None,
    )
