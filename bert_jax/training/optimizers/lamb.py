"""LAMB: Adam's step, scaled for each layer to the norm of its weights (You et al. 2019, arXiv 1904.00962).

With r = m / (sqrt(v) + eps) of Adam's moments and u = r + weight_decay * p, a layer moves by
    -learning_rate * trust_ratio * u,    trust_ratio = |p| / |u|, or 1 where one of the two is 0,
norms being of one tensor of one layer. Implementations differ in four points:

    variant  moments' bias  excluded leaves (biases, LayerNorm's scales)  trust ratio
    paper    corrected      no decay; trust ratio                         as above (algorithm 2; optax.lamb)
    nvidia   corrected      neither decay nor trust ratio                 as above; none at all at weight_decay=0
    albert   kept           neither decay nor trust ratio                 as above (Google's ALBERT)
    nezha    corrected      no decay; trust ratio                         at most 10, and of another norm:
             |m / sqrt(v + eps) + weight_decay * p|, decayed for excluded leaves too; 1 where p or the gradient is 0

nvidia is FusedLAMB of NVIDIA's BERT without its use_nvlamb, nezha is Huawei's NEZHA-TensorFlow. Both, and
ALBERT's training, clip the global gradient norm at 1.0 first: that is config.clip_norm here.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bert_jax.training.optimizers import EXCLUDED, Path, Tree, _adam, has_gradient, is_excluded, is_stacked, layer_norm

LambVariant = Literal["paper", "nvidia", "albert", "nezha"]


def build(
    learning_rate: optax.Schedule,
    *,
    variant: LambVariant = "paper",
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.01,
    grad_averaging: bool = True,
    exclude: tuple[str, ...] = EXCLUDED,
) -> optax.GradientTransformation:
    """LAMB. Its state is `_adam.AdamState`; `statistics` takes the same options.

    Args:
      learning_rate: the state's count of updates -> rate.
      variant: which definition, see the top of this file.
      b1, b2: decay of the moments.
      eps: added to the square root of the second moment.
      weight_decay: share of a parameter taken off at a learning rate of 1, before the trust ratio.
      grad_averaging: False adds the gradient unscaled to the first moment, not times 1 - b1 (FusedLAMB's option).
      exclude: leaves with one of these keys in their path are the excluded ones.

    Raises:
      ConfigError: an option is out of range.
    """
    _adam.check(b1, b2, eps, weight_decay)

    def update(grads: Tree, state: _adam.AdamState, params: Tree) -> tuple[Tree, _adam.AdamState]:
        rate = learning_rate(state.step)
        state, steps = _steps(grads, state, params, variant, b1, b2, eps, weight_decay, grad_averaging, exclude)
        return _pick(lambda step: -rate * step.trust_ratio * step.direction, steps), state

    return optax.GradientTransformation(_adam.init, update)


def statistics(
    grads: Tree,
    state: _adam.AdamState,
    params: Tree,
    *,
    variant: LambVariant = "paper",
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.01,
    grad_averaging: bool = True,
    exclude: tuple[str, ...] = EXCLUDED,
) -> dict[str, Tree]:
    """What `update` with the same arguments uses: "trust_ratio", "update_norm" and "parameter_norm".

    Each is a tree with the parameters' structure, of float32 [n] for leaves under "layers" and [] for others.
    update_norm is of Adam's step with decay, before trust ratio and learning rate. In one jitted function with
    `update` the compiler computes the shared part once; a step that does not call this pays nothing.
    """
    _, steps = _steps(grads, state, params, variant, b1, b2, eps, weight_decay, grad_averaging, exclude)

    def by_layer(path: Path, x: jax.Array) -> jax.Array:
        return x.reshape(x.shape[:1] if is_stacked(path) else ())

    fields = ("trust_ratio", "update_norm", "parameter_norm")
    trees = {name: _pick(lambda step, name=name: getattr(step, name), steps) for name in fields}
    return {name: jax.tree_util.tree_map_with_path(by_layer, tree) for name, tree in trees.items()}


class _Step(NamedTuple):
    """One leaf's update [...]; ratio and norms as `layer_norm` shapes them."""

    direction: jax.Array
    trust_ratio: jax.Array
    update_norm: jax.Array
    parameter_norm: jax.Array


def _pick(f, steps: Tree) -> Tree:
    return jax.tree.map(f, steps, is_leaf=lambda x: isinstance(x, _Step))


def _steps(
    grads: Tree,
    state: _adam.AdamState,
    params: Tree,
    variant: LambVariant,
    b1: float,
    b2: float,
    eps: float,
    weight_decay: float,
    grad_averaging: bool,
    exclude: tuple[str, ...],
) -> tuple[_adam.AdamState, Tree]:
    """The state after the gradients, and a `_Step` for each leaf."""
    state = _adam.accumulate(grads, state, b1, b2, grad_averaging)
    mu, nu = (state.mu, state.nu) if variant == "albert" else _adam.corrected(state, b1, b2)

    def leaf(path: Path, m: jax.Array, v: jax.Array, p: jax.Array, g: jax.Array) -> _Step:
        excluded = is_excluded(path, exclude)
        decay = weight_decay * has_gradient(path, v) * p
        direction = m / (jnp.sqrt(v) + eps) + (0.0 if excluded else decay)
        update_norm, parameter_norm = layer_norm(path, direction), layer_norm(path, p)
        ratio_norm, moves = update_norm, update_norm > 0
        if variant == "nezha":
            ratio_norm = layer_norm(path, m / jnp.sqrt(v + eps) + decay)
            moves = layer_norm(path, g) > 0
        ratio = jnp.where((parameter_norm > 0) & moves, parameter_norm / ratio_norm, 1.0)
        if variant == "nezha":
            ratio = jnp.minimum(ratio, 10.0)
        if (variant in ("nvidia", "albert") and excluded) or (variant == "nvidia" and weight_decay == 0):
            ratio = jnp.ones_like(ratio)
        return _Step(direction, ratio, update_norm, parameter_norm)

    return state, jax.tree_util.tree_map_with_path(leaf, mu, nu, params, grads)
