"""Muon: which leaves it takes, and that each matrix of each layer is orthogonalized on its own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax.training.optimizers import adamw, muon

RATE = 0.1


def newton_schulz(g: np.ndarray, steps: int = 5) -> np.ndarray:
    """Jordan's iteration in float64 on one matrix [I, O]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (np.linalg.norm(x) + 1e-8)
    for _ in range(steps):
        s = x @ x.T
        x = a * x + (b * s + c * s @ s) @ x
    return x.T if g.shape[0] > g.shape[1] else x


def first_updates(trees, params, grads, **options):
    optimizer = muon.build(lambda _: RATE, **options)
    return trees.flatten(jax.jit(optimizer.update)(grads, optimizer.init(params), params)[0])


def test_layer_kernels_are_orthogonalized_matrix_by_matrix(trees):
    """On the first step the bias-corrected Nesterov momentum is a multiple of the gradient, which drops out."""
    params, grads = trees.normal(0), trees.normal(1)
    updates = first_updates(trees, params, grads, weight_decay=0.1)
    rows = {"query": 15, "output": 15, "up": 15, "down": 37}  # inputs: D, NH, D, F
    seen = 0
    for path, g in trees.flatten(grads).items():
        if path[0] != "layers" or path[-1] != "kernel":
            continue
        for i in range(3):
            matrix = np.float64(g[i]).reshape(rows[path[2]], -1)
            p = np.float64(trees.flatten(params)[path][i])
            scale = 0.2 * np.sqrt(max(matrix.shape))
            wanted = -RATE * (scale * newton_schulz(matrix).reshape(p.shape) + 0.1 * p)
            got = np.asarray(updates[path][i])
            np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max(), err_msg=str(path))
            seen += 1
    assert seen == 12


def test_singular_values_are_about_one(trees):
    params, grads = trees.normal(0), trees.normal(1)
    updates = first_updates(trees, params, grads, weight_decay=0.0)
    matrices = np.asarray(updates["layers", "attention", "query", "kernel"]).reshape(3, 15, 15)
    values = np.linalg.svd(matrices / (RATE * 0.2 * np.sqrt(15)), compute_uv=False)
    assert (values > 0.3).mean() > 0.9
    assert values.max() < 1.3


def test_the_rest_follows_adamw(trees):
    params = jax.tree.map(jnp.asarray, trees.normal(0))
    ours, adam = muon.build(lambda _: RATE), adamw.build(lambda _: RATE, eps=1e-8)
    states, updates = [ours.init(params), adam.init(params)], [jax.jit(ours.update), jax.jit(adam.update)]
    for t in range(1, 4):
        grads = trees.normal(t)
        mine, states[0] = updates[0](grads, states[0], params)
        plain, states[1] = updates[1](grads, states[1], params)
        for path, update in trees.flatten(mine).items():
            matrix = path[0] == "layers" and path[-1] == "kernel"
            assert np.array_equal(update, trees.flatten(plain)[path]) != matrix, path
        params = optax.apply_updates(params, mine)


@pytest.mark.parametrize(("nesterov", "corrected"), [(True, True), (False, True), (False, False)])
def test_momentum_equals_float64_reference(trees, nesterov, corrected):
    """Optax's momentum as the top of muon.py writes it; without Nesterov its bias correction drops out."""
    beta, decay, path = 0.9, 0.1, ("layers", "mlp", "up", "kernel")
    optimizer = muon.build(lambda _: RATE, beta=beta, nesterov=nesterov, weight_decay=decay)
    params = jax.tree.map(jnp.asarray, trees.normal(0))
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    wanted = np.float64(trees.flatten(params)[path])
    m = np.zeros_like(wanted)
    for t in range(1, 6):
        grads = trees.normal(t)
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
        g = np.float64(trees.flatten(grads)[path])
        m = beta * m + (1 - beta) * g
        direction = m / (1 - beta**t) if corrected else m
        if nesterov:
            direction = beta * m / (1 - beta ** (t + 1)) + (1 - beta) * g / (1 - beta**t)
        step = np.stack([newton_schulz(matrix) for matrix in direction])
        wanted -= RATE * (0.2 * np.sqrt(37) * step + decay * wanted)
    np.testing.assert_allclose(trees.flatten(params)[path], wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_kernels_of_other_stacks_are_taken_by_their_names():
    """Heads are joined in `output`, of whatever attention, and written by all others."""
    random = np.random.default_rng(0)
    matrix = random.normal(size=(2, 15, 37)).astype(np.float32)
    kernels = {
        "output": matrix.reshape(2, 3, 5, 37),
        "query": matrix.reshape(2, 15, 37, 1),
        "mlp": matrix,
    }
    grads = {"decoder": {"layers": {"cross": {name: {"kernel": kernel} for name, kernel in kernels.items()}}}}
    optimizer = muon.build(lambda _: RATE, weight_decay=0.0)
    updates, _ = optimizer.update(grads, optimizer.init(grads), grads)
    got = {name: leaf["kernel"].reshape(2, 15, 37) for name, leaf in updates["decoder"]["layers"]["cross"].items()}
    wanted = np.stack([-RATE * 0.2 * np.sqrt(37) * newton_schulz(np.float64(x)) for x in matrix])
    for name, update in got.items():
        np.testing.assert_allclose(update, wanted, rtol=1e-3, atol=1e-4, err_msg=name)
