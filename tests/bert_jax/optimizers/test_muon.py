"""Muon: which leaves it takes, and that each matrix of each layer is orthogonalized on its own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

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
