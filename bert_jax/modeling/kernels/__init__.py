"""Attention kernels, one a file: `build() -> Kernel`; `choose` finds the one that fits.

A kernel computes, for q [B, P, N, H], k [B, L, N, H] and v [B, L, N, G],

    softmax(scale · q kᵀ, over the keys that a query sees) · v        → [B, P, N, G]

where a `Visibility` says what a query sees, with optional dropout on the probabilities and one of the additions below,
which carry a position scheme. It refuses, by name and reason, what it cannot do, before anything compiles.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import jax

from bert_jax.config import Model
from bert_jax.modeling.visibility import Visibility
from configuration.variants import ConfigError, load, names, use

if TYPE_CHECKING:
    from bert_jax.modeling.positions import Form


class Sinusoids(NamedTuple):
    """Vectors that are added to keys and values: the sinusoid of the distance d = key − query.

    That of clip(d, −K, K) + K where K, the `distance`, is above 0, and else of d; column 2m holds the sine and column
    2m + 1 the cosine, as `positions._sinusoids` has them.
    """

    distance: int


class Vectors(NamedTuple):
    """Vectors that are added to keys and values by distance: row clip(d, −K, K) + K of a table."""

    table: jax.Array  # float32 [2K+1, H]


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


Addition = Sinusoids | Vectors | Bias | Products | None
Needs = Literal["nothing", "sinusoids", "vectors", "bias", "products"]  # which a form of a position scheme needs


@dataclasses.dataclass(frozen=True)
class Request:
    """What a model asks of a kernel."""

    platform: str  # cpu, gpu or tpu
    length: int  # L
    head_size: int  # H of the queries and keys, in the kernel's input
    dtype: str
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


class Choice(NamedTuple):
    """What serves a model."""

    name: str
    kernel: Kernel
    form: "Form"  # of the position scheme
    request: Request  # as the kernel was asked, in this form
    refusals: list[tuple[str, str]]  # of the kernels preferred to this one: names and reasons


def choose(model: Model, request: Request) -> Choice:
    """The kernel that `model.kernel` names, or the preferred one on this platform that can do what is asked.

    Of the forms that the position scheme offers it takes the first that the kernel can have.

    Args:
      request: as `request_for` gives it: the form is put in here.

    Raises:
      ConfigError: the named kernel cannot; the message says why.
    """
    forms = load("bert_jax.modeling.positions", model.positions)(model).forms(request.length, request.local)
    wanted = [model.kernel] if model.kernel.name != "auto" else [use(name) for name in by_preference(request.platform)]
    refusals: list[tuple[str, str]] = []
    for variant in wanted:
        kernel = load("bert_jax.modeling.kernels", variant)()
        reasons = []
        for form in forms:
            asked = dataclasses.replace(request, needs=form.needs, head_size=request.head_size * form.widening)
            reason = kernel.unsupported(asked)
            if reason is None:
                return Choice(variant.name, kernel, form, asked, refusals)
            reasons.append(reason)
        refusals.append((variant.name, " and ".join(dict.fromkeys(reasons))))
    if model.kernel.name != "auto":
        raise ConfigError(
            f"config.model.kernel is {model.kernel.name!r}, which cannot do this: {refusals[0][1]}; "
            "'auto' picks one that can"
        )
    raise ConfigError(f"config.model.kernel is 'auto', but no kernel does {request}: {refusals}")


def by_preference(platform: str) -> list[str]:
    """The kernels that `auto` may take on a platform, the preferred ones first."""
    preference = {
        name: load("bert_jax.modeling.kernels", use(name))().preference for name in names("bert_jax.modeling.kernels")
    }
    at = {name: of.get(platform, of.get("any")) for name, of in preference.items()}
    return [name for _, name in sorted(((n, name) for name, n in at.items() if n is not None), reverse=True)]


def explain(model: Model, request: Request) -> str:
    """One line for the log: the kernel that `choose` gives, and why no preferred one.

    Raises:
      ConfigError: as `choose`.
    """
    chosen = choose(model, request)
    why = "named in the configuration" if model.kernel.name != "auto" else f"the fastest that can on {request.platform}"
    refused = [f"not {other}: {reason}" for other, reason in chosen.refusals]
    where = " of local layers" if request.local else ""
    return "; ".join([f"attention kernel{where}: {chosen.name}, {why}", *refused])


def request_for(
    model: Model, length: int, dropout: bool, visibility: Visibility | None = None, local: bool = False
) -> Request:
    """What `model` asks of a kernel for rows of `length` tokens, on the mesh in use or else this process's devices.

    Args:
      visibility: of a global layer; None for both directions within a segment.
      local: for the layers that attend within `model.window`.
    """
    windows = [visibility.window if visibility else None, model.window if local else None]
    return Request(
        platform=platform(),
        length=length,
        head_size=model.head_size,
        dtype=model.dtype,
        dropout=dropout and model.attention_dropout > 0,
        ranks=visibility is not None and visibility.ranked,
        window=min((window for window in windows if window is not None), default=None),
        local=local,
    )


def platform() -> str:
    """cpu, gpu or tpu: of the mesh in use (`jax.set_mesh`), which may be a slice that is only compiled for."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return device.platform if device else jax.default_backend()
