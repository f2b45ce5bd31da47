"""Muon: each weight matrix moves along its orthogonalized momentum (Jordan et al. 2024).

https://kellerjordan.github.io/posts/muon. The matrices are the kernels of the layers, one a layer; embeddings,
norms, biases and heads follow AdamW. With `consistent_rms` (Liu et al. 2025, arXiv 2502.16982, section 2.2) both
halves move by steps of like size, so that one learning rate and one weight decay, AdamW's, serve both.

The momentum is optax's, which corrects its bias towards zero; Jordan's own code does not. With m_t = beta m_(t-1) +
(1 - beta) g_t, and since the orthogonalization ignores the size of its input, the first steps differ with `nesterov`
(and converge as beta^t goes to zero) and are the same without:
    Jordan   orthogonalize(beta m_t + (1 - beta) g_t)
    optax    orthogonalize(beta m_t / (1 - beta^(t+1)) + (1 - beta) g_t / (1 - beta^t))
"""

import math

import jax
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from bert_jax.training.optimizers import EXCLUDED, Path, Tree, adamw, has_gradient, is_stacked, names_of, require


def build(
    learning_rate: optax.Schedule,
    *,
    beta: float = 0.95,
    nesterov: bool = True,
    newton_schulz_steps: int = 5,
    consistent_rms: float = 0.2,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    exclude: tuple[str, ...] = EXCLUDED,
) -> optax.GradientTransformation:
    """Optax's Muon for the layers' kernels, AdamW for the rest.

    Args:
      learning_rate: the state's count of updates -> rate, for both.
      beta, nesterov: Muon's momentum.
      newton_schulz_steps: iterations of the orthogonalization.
      consistent_rms: root mean square of Muon's update at a learning rate of 1; 0.2 is about AdamW's.
      b1, b2: AdamW's moments.
      eps: of both.
      weight_decay: share of a parameter taken off at a learning rate of 1.
      exclude: leaves with one of these keys in their path do not decay.

    Raises:
      ConfigError: an option is out of range.
    """
    require(0 < beta < 1, "beta", beta, "between 0 and 1")
    require(newton_schulz_steps >= 1, "newton_schulz_steps", newton_schulz_steps, "at least 1")
    require(consistent_rms > 0, "consistent_rms", consistent_rms, "above 0")
    adam = adamw.build(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, exclude=exclude)
    muon = optax.chain(
        scale_by_muon(
            beta=beta,
            nesterov=nesterov,
            ns_steps=newton_schulz_steps,
            eps=eps,
            weight_dimension_numbers=_dimensions,
        ),
        optax.stateless(lambda updates, _: _rescale(updates, consistent_rms)),
        optax.stateless(lambda updates, params: _decayed(updates, params, weight_decay)),
        optax.scale_by_learning_rate(learning_rate),
    )
    both = optax.partition({"muon": muon, "adam": adam}, _labels)

    def update(grads: Tree, state: optax.OptState, params: Tree) -> tuple[Tree, optax.OptState]:
        return both.update(optax.tree.cast(grads, "float32"), state, params)

    return optax.GradientTransformation(both.init, update)


def _is_matrix(path: Path) -> bool:
    return is_stacked(path) and names_of(path)[-1] == "kernel"


def _labels(params: Tree) -> Tree:
    return jax.tree_util.tree_map_with_path(lambda path, _: "muon" if _is_matrix(path) else "adam", params)


def _axes(path: Path, x: jax.Array) -> MuonDimensionNumbers:
    """Which axes a kernel sums over and which it writes; what is left, the layers, is a batch of matrices.

    By the kernel's name: `output` joins heads, [n,N,H,D] is NH x D; any other, such as query, key and value, may
    write heads, [n,D,N,H] is D x NH. Kernels of two axes are as they stand.
    """
    axes = tuple(range(1, x.ndim))
    inputs = len(axes) - 1 if names_of(path)[-2] == "output" else 1
    return MuonDimensionNumbers(reduction_axis=axes[:inputs], output_axis=axes[inputs:])


def _dimensions(params: Tree) -> Tree:
    return jax.tree_util.tree_map_with_path(_axes, params)


def _rescale(updates: Tree, rms: float) -> Tree:
    """An orthogonal I x O matrix has root mean square 1 / sqrt(max(I, O))."""

    def leaf(path: Path, x: jax.Array) -> jax.Array:
        axes = _axes(path, x)
        fan_in = math.prod(x.shape[i] for i in axes.reduction_axis)
        fan_out = math.prod(x.shape[i] for i in axes.output_axis)
        return x * (rms * math.sqrt(max(fan_in, fan_out)))

    return jax.tree_util.tree_map_with_path(leaf, updates)


def _decayed(updates: Tree, params: Tree, weight_decay: float) -> Tree:
    """The updates with the decay of all matrices that have had a gradient: without one the update is zero."""

    def leaf(path: Path, x: jax.Array, p: jax.Array) -> jax.Array:
        return x + weight_decay * has_gradient(path, x) * p

    return jax.tree_util.tree_map_with_path(leaf, updates, params)
