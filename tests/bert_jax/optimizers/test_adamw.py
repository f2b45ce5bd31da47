"""AdamW against NumPy float64, with and without bias correction."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax.training.optimizers import adamw


def schedule(step):
    return 0.01 / (1 + 0.1 * step)


@pytest.mark.parametrize("corrects", [True, False], ids=["corrected", "google_bert"])
def test_equals_float64_reference(trees, corrects):
    b1, b2, eps, decay = 0.85, 0.98, 1e-5, 0.1
    optimizer = adamw.build(schedule, bias_correction=corrects, b1=b1, b2=b2, eps=eps, weight_decay=decay)
    params = jax.tree.map(jnp.asarray, trees.normal(0))
    wanted = {path: np.float64(p) for path, p in trees.flatten(trees.normal(0)).items()}
    m = {path: np.zeros_like(p) for path, p in wanted.items()}
    v = {path: np.zeros_like(p) for path, p in wanted.items()}
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for t in range(1, 21):
        grads = trees.normal(t, scale=1e-2)
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
        for path, g in trees.flatten(grads).items():
            g = g.astype(np.float64)
            m[path], v[path] = b1 * m[path] + (1 - b1) * g, b2 * v[path] + (1 - b2) * g**2
            m_hat = m[path] / (1 - b1**t) if corrects else m[path]
            v_hat = v[path] / (1 - b2**t) if corrects else v[path]
            shrink = 0 if path[-1] in ("bias", "scale") else decay * wanted[path]
            wanted[path] = wanted[path] - schedule(t - 1) * (m_hat / (np.sqrt(v_hat) + eps) + shrink)
    for path, value in trees.flatten(params).items():
        rounding = 2e-6 * np.abs(wanted[path]).max()
        np.testing.assert_allclose(value, wanted[path], rtol=2e-6, atol=rounding, err_msg=str(path))


def test_corrected_equals_optax(trees):
    ours, theirs = adamw.build(schedule, exclude=()), optax.adamw(schedule, eps=1e-6, weight_decay=0.01)
    params = jax.tree.map(jnp.asarray, trees.normal(0))
    states, updates = [ours.init(params), theirs.init(params)], [jax.jit(ours.update), jax.jit(theirs.update)]
    for t in range(1, 4):
        grads = trees.normal(t)
        mine, states[0] = updates[0](grads, states[0], params)
        yours, states[1] = updates[1](grads, states[1], params)
        # Optax's bias correction at b2 = 0.999 is good to 1e-4 of a step, half of it after the root.
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), mine, yours)
        params = optax.apply_updates(params, mine)
