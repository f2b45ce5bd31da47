"""The average of the weights against its sum in NumPy float64."""

import jax
import numpy as np
import pytest

from bert_jax.transforms import average
from configuration.variants import ConfigError


def make_params(seed=0):
    random = np.random.default_rng(seed)
    return {
        "layers": {"up": {"kernel": random.normal(size=(3, 5, 7)).astype(np.float32)}},
        "pooler": {"bias": random.normal(size=11).astype(np.float32)},
    }


@pytest.mark.parametrize("decay", [0.5, 0.999])
@pytest.mark.parametrize("steps", [1, 17])
def test_equals_the_weighted_sum(decay, steps):
    transform = average.build(steps, decay=decay)
    path, state = [make_params(1 + i) for i in range(steps)], transform.init(make_params())
    for params in path:
        state = jax.jit(transform.update)(state, params)
    weights = decay ** np.arange(steps - 1, -1, -1, dtype=np.float64)
    got = transform.apply(path[-1], state)
    for leaf, *leaves in zip(jax.tree.leaves(got), *map(jax.tree.leaves, path), strict=True):
        wanted = np.tensordot(weights / weights.sum(), np.stack(leaves).astype(np.float64), 1)
        np.testing.assert_allclose(leaf, wanted, rtol=1e-6, atol=1e-6)


def test_starts_as_the_parameters():
    transform = average.build(1, decay=0.9)
    jax.tree.map(np.testing.assert_array_equal, transform.apply(None, transform.init(make_params())), make_params())


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0, 2.0])
def test_a_wrong_decay_is_named(decay):
    with pytest.raises(ConfigError, match=f"average.decay is {decay}"):
        average.build(10, decay=decay)
