"""The moments of Adam (Kingma and Ba 2014, arXiv 1412.6980, algorithm 1), which LAMB and AdamW share."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from bert_jax.training.optimizers import Tree, require


class AdamState(NamedTuple):
    """Running means of the gradients; the trees have the parameters' structure and shapes, in float32."""

    step: jax.Array  # int32 []: updates made
    mu: Tree  # of the gradient
    nu: Tree  # of its square


def init(params: Tree) -> AdamState:
    """No updates yet, all moments zero."""

    zeros = lambda: optax.tree.zeros_like(params, dtype=jnp.float32)
    return AdamState(jnp.zeros([], jnp.int32), zeros(), zeros())


def accumulate(grads: Tree, state: AdamState, b1: float, b2: float, averaging: bool = True) -> AdamState:
    """The moments after one more gradient. Without `averaging` it enters `mu` unscaled, not times 1 - b1."""
    grads = optax.tree.cast(grads, jnp.float32)
    mu = optax.tree.update_moment(grads, state.mu, b1, 1) if averaging else optax.tree.add_scale(grads, b1, state.mu)
    return AdamState(state.step + 1, mu, optax.tree.update_moment(grads, state.nu, b2, 2))


def corrected(state: AdamState, b1: float, b2: float) -> tuple[Tree, Tree]:
    """The moments without their bias towards the zeros that they start from.

    1 - b^t is taken as -expm1(t ln b): at b2 = 0.999 the plain difference, which optax.tree.bias_correction takes,
    keeps four digits of float32.
    """
    step = state.step.astype(jnp.float32)
    first, second = -jnp.expm1(step * math.log(b1)), -jnp.expm1(step * math.log(b2))
    return jax.tree.map(lambda m: m / first, state.mu), jax.tree.map(lambda v: v / second, state.nu)


def check(b1: float, b2: float, eps: float, weight_decay: float) -> None:
    """Raises ConfigError for options outside their range."""
    require(0 < b1 < 1, "b1", b1, "between 0 and 1")
    require(0 < b2 < 1, "b2", b2, "between 0 and 1")
    require(eps > 0, "eps", eps, "above 0")
    require(weight_decay >= 0, "weight_decay", weight_decay, "at least 0")
