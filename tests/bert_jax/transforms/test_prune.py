"""Masks by magnitude against NumPy, and their schedule against Zhu and Gupta's formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.transforms import prune
from configuration.variants import ConfigError


def make_params():
    random = np.random.default_rng(0)
    return {
        "layers": {"up": {"kernel": random.normal(size=(3, 5, 7)).astype(np.float32)}},
        "pooler": {"kernel": random.normal(size=(11, 4)).astype(np.float32), "bias": np.ones(4, np.float32)},
    }


def test_the_smallest_of_each_matrix_are_masked_by_the_schedule():
    transform = prune.build(100, sparsity=0.8, begin=0.1, end=0.5, every=10)
    params, update = make_params(), jax.jit(transform.update)
    state, share = transform.init(params), 0.0
    for step in range(1, 101):
        state = update(state, params)
        if step in (20, 30, 40, 50):
            share = 0.8 * (1 - (1 - (step - 10) / 40) ** 3)
        shown = jax.device_get(transform.apply(params, state))
        kernels = [*zip(params["layers"]["up"]["kernel"], shown["layers"]["up"]["kernel"], strict=True)]
        for before, after in [*kernels, (params["pooler"]["kernel"], shown["pooler"]["kernel"])]:
            smallest = np.argsort(np.abs(before).ravel())[: int(share * before.size)]
            wanted = before.copy().ravel()
            wanted[smallest] = 0
            np.testing.assert_array_equal(after.ravel(), wanted)
        np.testing.assert_array_equal(shown["pooler"]["bias"], params["pooler"]["bias"])
    gradient = jax.grad(lambda p: sum(map(jnp.sum, jax.tree.leaves(transform.apply(p, state)))))(params)
    jax.tree.map(np.testing.assert_array_equal, gradient["pooler"]["kernel"], state["masks"]["pooler"]["kernel"])
    assert transform.in_step


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 1.0}, "prune.sparsity is 1.0"),
        ({"begin": 0.7}, "prune.begin is 0.7"),
        ({"every": 0}, "every is 0"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        prune.build(10, **options)
