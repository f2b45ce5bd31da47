"""Which attention kernel, in which form of the position scheme, serves a model."""

import dataclasses
from typing import NamedTuple

import jax

from bert_jax.config import Model
from bert_jax.modeling.kernels import Kernel, Request
from bert_jax.modeling.positions import Form
from bert_jax.modeling.visibility import Visibility
from configuration.variants import ConfigError, load, names, use


class Choice(NamedTuple):
    """What serves a model."""

    name: str
    kernel: Kernel
    form: Form  # of the position scheme
    request: Request  # as the kernel was asked, in this form
    refusals: list[tuple[str, str]]  # of the kernels preferred to this one: names and reasons


def choose(model: Model, request: Request) -> Choice:
    """The kernel that `model.kernel` names, or the preferred one on this platform that supports the request.

    It uses the first form of the position scheme that the kernel supports.

    Args:
      request: as `request_for` gives it: the form is put in here.

    Raises:
      ConfigError: the named kernel does not support it; the message says why.
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
    model: Model, length: int, training: bool, visibility: Visibility | None = None, local: bool = False
) -> Request:
    """What `model` asks of a kernel for rows of `length` tokens, on the mesh in use or else this process's devices.

    Args:
      training: gradients are taken, with dropout if the model has any.
      visibility: of a global layer; None for both directions within a segment.
      local: for the layers that attend within `model.window`.
    """
    windows = [visibility.window if visibility else None, model.window if local else None]
    return Request(
        platform=platform(),
        length=length,
        head_size=model.head_size,
        dtype=model.dtype,
        training=training,
        dropout=training and model.attention_dropout > 0,
        ranks=visibility is not None and visibility.ranked,
        window=min((window for window in windows if window is not None), default=None),
        local=local,
    )


def platform() -> str:
    """cpu, gpu or tpu: of the mesh in use (`jax.set_mesh`), which may be a slice that is only compiled for."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return device.platform if device else jax.default_backend()
