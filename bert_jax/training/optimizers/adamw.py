"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2017, arXiv 1711.05101)."""

import jax
import jax.numpy as jnp
import optax

from bert_jax.training.optimizers import EXCLUDED, Path, Tree, _adam, has_gradient, is_excluded


def build(
    learning_rate: optax.Schedule,
    *,
    bias_correction: bool = True,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.01,
    exclude: tuple[str, ...] = EXCLUDED,
) -> optax.GradientTransformation:
    """AdamW; the decay is multiplied by the learning rate.

    Args:
      learning_rate: the state's count of updates -> rate.
      bias_correction: False is the optimizer of Google's BERT, whose moments keep their bias towards zero.
      b1, b2: decay of the moments.
      eps: added to the square root of the second moment.
      weight_decay: share of a parameter taken off at a learning rate of 1.
      exclude: leaves with one of these keys in their path do not decay.

    Raises:
      ConfigError: an option is out of range.
    """
    _adam.check(b1, b2, eps, weight_decay)

    def update(grads: Tree, state: _adam.AdamState, params: Tree) -> tuple[Tree, _adam.AdamState]:
        rate = learning_rate(state.step)
        state = _adam.accumulate(grads, state, b1, b2)
        mu, nu = _adam.corrected(state, b1, b2) if bias_correction else (state.mu, state.nu)

        def leaf(path: Path, m: jax.Array, v: jax.Array, p: jax.Array) -> jax.Array:
            step = m / (jnp.sqrt(v) + eps)
            if weight_decay and not is_excluded(path, exclude):
                step += weight_decay * has_gradient(path, v) * p
            return -rate * step

        return jax.tree_util.tree_map_with_path(leaf, mu, nu, params), state

    return optax.GradientTransformation(_adam.init, update)
