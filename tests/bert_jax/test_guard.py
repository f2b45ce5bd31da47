"""The guard: poisoned gradients are skipped bit by bit, counted, and a lasting rise of the norm is let through."""

import jax
import numpy as np
import pytest

from bert_jax.training import guard
from bert_jax.training.optimizers import lamb
from configuration.variants import ConfigError

GRACE = 5


def make_params():
    random = np.random.default_rng(0)
    return {
        "layers": {"up": {"kernel": random.normal(size=(3, 5, 7)).astype(np.float32)}},
        "pooler": {"bias": random.normal(size=11).astype(np.float32)},
    }


def gradient(seed, size=1.0):
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda p: (size * random.normal(size=p.shape)).astype(np.float32), make_params())


def norm_of(grads):
    return np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in jax.tree.leaves(grads))).astype(np.float32)


@pytest.fixture(scope="module")
def guarded():
    """LAMB under guard, compiled once."""
    optimizer = guard.wrap(lamb.build(lambda step: 0.1 / (1 + step)), factor=4.0, grace=GRACE)
    return optimizer, jax.jit(lambda grads, state, params, norm: optimizer.update(grads, state, params, norm=norm))


def run(guarded, gradients):
    """Parameters, state and the counts of skipped updates after each gradient."""
    optimizer, update = guarded
    params, state, skipped = make_params(), optimizer.init(make_params()), []
    for grads in gradients:
        updates, state = update(grads, state, params, norm_of(grads))
        params = jax.tree.map(np.add, params, updates)
        skipped.append(int(guard.counts(state)["skipped"]))
    return params, state, skipped


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e4], ids=["nan", "infinite", "outlier"])
def test_a_poisoned_run_equals_the_run_without_the_poison(guarded, poison):
    good = [gradient(seed) for seed in range(12)]
    bad = gradient(99, poison)
    params, state, skipped = run(guarded, [*good[:8], bad, bad, *good[8:]])
    wanted, wanted_state, none = run(guarded, good)
    assert skipped == [0] * 8 + [1, 2] + [2] * 4
    assert none[-1] == 0
    jax.tree.map(np.testing.assert_array_equal, params, wanted)
    jax.tree.map(np.testing.assert_array_equal, state.inner, wanted_state.inner)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_without_a_guard_the_poison_stays():
    """The same poison without the guard: what the test above would see if nothing were skipped."""
    optimizer = lamb.build(lambda _: 0.1)
    _, state = optimizer.update(gradient(0, np.nan), optimizer.init(make_params()), make_params())
    updates, _ = optimizer.update(gradient(1), state, make_params())
    assert np.isnan(updates["pooler"]["bias"]).all()


def test_counts_in_a_row(guarded):
    _, state, _ = run(guarded, [gradient(0), gradient(1, np.nan), gradient(2), *[gradient(3, np.nan)] * 3])
    assert {name: int(count) for name, count in guard.counts(state).items()} == {"skipped": 4, "skipped_in_a_row": 3}
    assert guard.counts(lamb.build(lambda _: 0.1).init(make_params())) == {}


def test_a_poison_at_the_start_is_skipped_and_outliers_are_not(guarded):
    """Before the grace is over only what is not finite is skipped, and it does not count towards the grace."""
    *_, skipped = run(guarded, [gradient(0, np.nan), *[gradient(1, 10.0**i) for i in range(GRACE)], gradient(2, 1e9)])
    assert skipped == [1] * (1 + GRACE) + [2]


def test_a_lasting_rise_is_let_through(guarded):
    *_, skipped = run(guarded, [gradient(s) for s in range(50)] + [gradient(s, 8.0) for s in range(80)])
    assert skipped[49] == 0
    assert skipped[50] == 1
    assert skipped[-1] == skipped[-30]
    assert skipped[-1] < 60


def test_typical_norm_is_the_mean_corrected_for_its_start(guarded):
    grads = [gradient(s, 1 + s % 3) for s in range(9)]
    _, state, skipped = run(guarded, grads)
    weights = 0.99 ** np.arange(8, -1, -1)
    assert skipped[-1] == 0
    wanted = (weights * [norm_of(g) for g in grads]).sum() / weights.sum()
    np.testing.assert_allclose(state.typical_norm, wanted, rtol=1e-6)


@pytest.mark.parametrize(("option", "value"), [("factor", 1.0), ("factor", np.nan), ("decay", 1.0), ("grace", 0)])
def test_wrong_options_are_named(option, value):
    with pytest.raises(ConfigError, match=f"config.guard.{option} is {value}"):
        guard.wrap(lamb.build(lambda _: 0.1), **{option: value})
