"""Attention kernels, one a file: `build() -> Kernel`; `choose` finds the one that fits.

A kernel computes, for q, k [B, L, N, H] and v [B, L, N, G],

    softmax(scale · q kᵀ, over keys of the same segment) · v        → [B, L, N, G]

with optional dropout on the probabilities and optional vectors that are added to keys and values by clipped
distance (`Relative`). It refuses, by name and reason, what it cannot do, before anything compiles.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
from flax import nnx

from bert_jax.config import Model
from configuration.variants import ConfigError, load, use

FASTEST_FIRST = {"cpu": ("xla",), "gpu": ("cudnn", "xla"), "tpu": ("band", "splash", "xla")}


@dataclasses.dataclass(frozen=True)
class Request:
    """What a model asks of a kernel."""

    platform: str  # cpu, gpu or tpu
    length: int  # L
    head_size: int  # H of the queries and keys, in the kernel's input
    dtype: str
    dropout: bool = False  # on the attention probabilities
    relative: Literal["sinusoid", "table"] | None = None  # the kind of `Relative`, if there must be one
    unclipped: bool = False  # whether the scheme's wider heads may also come as a `Relative` that is not clipped


class Relative(NamedTuple):
    """Vectors that are added to keys and values by the distance d = key − query: row clip(d, −K, K) + K of a table."""

    table: jax.Array  # float32 [2K+1, H]
    sinusoid: bool  # whether row p holds sin(p w_m) and cos(p w_m) in columns 2m and 2m+1, w_m = 10000^(−2m/H)
    clipped: bool = True  # a sinusoid that is not has that of p − K in row p, and rows for all distances


class Kernel(NamedTuple):
    """`unsupported(request)` gives None or the reason why not; `attend` is the function described above."""

    unsupported: Callable[[Request], str | None]
    attend: Callable[..., jax.Array]
    fewer_queries: bool = False  # whether q may be [B, P, N, H], with segments of its own [B, P]
    unclipped: bool = False  # whether it prefers an unclipped `Relative` to doubled head size


def choose(model: Model, request: Request) -> tuple[str, Kernel]:
    """The kernel that `model.kernel` names, or the fastest on this platform that can do what is asked.

    Raises:
      ConfigError: the named kernel cannot; the message says why.
    """
    name, kernel, _ = _choose(model, request)
    return name, kernel


def explain(model: Model, request: Request) -> str:
    """One line for the log: the kernel that `choose` gives, and why no faster one.

    Raises:
      ConfigError: as `choose`.
    """
    name, _, refusals = _choose(model, request)
    why = "named in the configuration" if model.kernel.name != "auto" else f"the fastest that can on {request.platform}"
    return "; ".join([f"attention kernel: {name}, {why}", *(f"not {other}: {reason}" for other, reason in refusals)])


def _choose(model: Model, request: Request) -> tuple[str, Kernel, list[tuple[str, str]]]:
    """The name, the kernel, and the faster ones that refused with their reasons."""
    if model.kernel.name != "auto":
        kernel = load("bert_jax.modeling.kernels", model.kernel)()
        reason = kernel.unsupported(request)
        if reason:
            raise ConfigError(
                f"config.model.kernel is {model.kernel.name!r}, which cannot do this: {reason}; "
                "'auto' picks one that can"
            )
        return model.kernel.name, kernel, []
    refusals: list[tuple[str, str]] = []
    for name in FASTEST_FIRST.get(request.platform, ("xla",)):
        kernel = load("bert_jax.modeling.kernels", use(name))()
        reason = kernel.unsupported(request)
        if reason is None:
            return name, kernel, refusals
        refusals.append((name, reason))
    raise ConfigError(f"config.model.kernel is 'auto', but no kernel does {request}: {refusals}")


def request_for(model: Model, length: int, dropout: bool) -> Request:
    """What `model` asks of a kernel for rows of `length` tokens, on the mesh in use or else this process's devices."""
    positions = load("bert_jax.modeling.positions", model.positions)()
    scheme = nnx.eval_shape(lambda: positions(model, rngs=nnx.Rngs(params=0)))
    q = jax.ShapeDtypeStruct((1, length, model.heads, model.head_size), model.dtype)
    tables = jax.eval_shape(scheme.tables, jax.ShapeDtypeStruct((1, length), "int32"))
    q, _, _ = jax.eval_shape(scheme.transform_qkv, q, q, q, tables)
    relative = scheme.relative(tables)
    return Request(
        platform=platform(),
        length=length,
        head_size=q.shape[-1],
        dtype=model.dtype,
        dropout=dropout and model.attention_dropout > 0,
        relative=None if relative is None else "sinusoid" if relative.sinusoid else "table",
        unclipped=relative is None and scheme.unclipped(length) is not None,
    )


def platform() -> str:
    """cpu, gpu or tpu: of the mesh in use (`jax.set_mesh`), which may be a slice that is only compiled for."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return device.platform if device else jax.default_backend()
