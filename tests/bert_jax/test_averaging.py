"""The average of the weights against its sum in NumPy float64, and what it leaves alone."""

import jax
import numpy as np
import optax
import pytest

from bert_jax.training import averaging
from bert_jax.training.optimizers import lamb
from configuration.variants import ConfigError


def make_params():
    random = np.random.default_rng(0)
    return {
        "layers": {"up": {"kernel": random.normal(size=(3, 5, 7)).astype(np.float32)}},
        "pooler": {"bias": random.normal(size=11).astype(np.float32)},
    }


def gradients(steps):
    random = np.random.default_rng(1)
    return [jax.tree.map(lambda p: random.normal(size=p.shape).astype(np.float32), make_params()) for _ in range(steps)]


def run(optimizer, steps):
    params, update = make_params(), jax.jit(optimizer.update)
    state, path = optimizer.init(params), []
    for grads in gradients(steps):
        updates, state = update(grads, state, params)
        params = jax.tree.map(np.add, params, updates)
        path.append(params)
    return state, path


@pytest.mark.parametrize("decay", [0.5, 0.999])
@pytest.mark.parametrize("steps", [1, 17])
def test_equals_the_weighted_sum(decay, steps):
    state, path = run(averaging.wrap(lamb.build(lambda _: 0.1), decay), steps)
    weights = decay ** np.arange(steps - 1, -1, -1, dtype=np.float64)
    for got, *leaves in zip(jax.tree.leaves(averaging.average(state)), *map(jax.tree.leaves, path), strict=True):
        wanted = np.tensordot(weights / weights.sum(), np.stack(leaves).astype(np.float64), 1)
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


def test_starts_as_the_parameters_and_leaves_the_updates_alone():
    plain = lamb.build(lambda _: 0.1)
    wrapped = averaging.wrap(plain, 0.9)
    jax.tree.map(np.testing.assert_array_equal, averaging.average(wrapped.init(make_params())), make_params())
    jax.tree.map(np.testing.assert_array_equal, run(wrapped, 5)[1], run(plain, 5)[1])
    assert averaging.average(plain.init(make_params())) is None


def test_is_laid_out_as_the_parameters():
    wrapped = averaging.wrap(lamb.build(lambda _: 0.1), 0.9)
    shapes = jax.tree.map(lambda p: p.shape, make_params())
    marked = optax.tree_utils.tree_map_params(
        wrapped, lambda _, p: p.ndim, jax.eval_shape(wrapped.init, make_params()), make_params()
    )
    assert averaging.average(marked) == jax.tree.map(len, shapes, is_leaf=lambda x: isinstance(x, tuple))


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0, 2.0])
def test_a_wrong_decay_is_named(decay):
    with pytest.raises(ConfigError, match=f"average_decay is {decay}"):
        averaging.wrap(lamb.build(lambda _: 0.1), decay)
