"""The loss and its own gradient, against NumPy in float64 and JAX's differentiation of the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.objectives._cross_entropy import cross_entropy


def inputs(seed: int, shape: tuple[int, ...], words: int, scale: float):
    rng = np.random.default_rng(seed)
    logits = (scale * rng.normal(size=(*shape, words))).astype(np.float32)
    return logits, rng.integers(0, words, shape), rng.uniform(size=shape).astype(np.float32)


@pytest.mark.parametrize(("shape", "words", "scale"), [((3, 37), 101, 1.0), ((7,), 2, 5.0), ((2, 3, 5), 11, 80.0)])
def test_sums_and_gradient_equal_float64(shape, words, scale):
    logits, targets, weights = inputs(len(shape), shape, words, scale)
    loss = lambda logits: cross_entropy(logits, targets, weights)
    (total, correct), pull = jax.vjp(jax.jit(loss), jnp.asarray(logits))
    (gradient,) = pull((jnp.float32(1.5), jnp.float32(0)))

    exact = logits.astype(np.float64)
    largest = exact.max(-1, keepdims=True)
    p = np.exp(exact - largest)
    p /= p.sum(-1, keepdims=True)
    hot = np.eye(words)[targets]
    surprise = -((exact - largest) * hot).sum(-1) + np.log(np.exp(exact - largest).sum(-1))
    np.testing.assert_allclose(total, (surprise * weights).sum(), rtol=2e-6)
    np.testing.assert_allclose(correct, (weights * (exact.argmax(-1) == targets)).sum(), rtol=1e-6)
    np.testing.assert_allclose(gradient, 1.5 * (p - hot) * weights[..., None], atol=1e-6)


def test_columns_that_pad_the_vocabulary_get_no_gradient():
    logits, targets, weights = inputs(0, (5, 9), 13, 3.0)
    padded = np.pad(logits, ((0, 0), (0, 0), (0, 3)), constant_values=np.finfo(np.float32).min)
    value = lambda logits: cross_entropy(logits, targets, weights)[0]
    np.testing.assert_allclose(value(padded), value(logits), rtol=1e-6)
    gradient = np.asarray(jax.grad(value)(jnp.asarray(padded)))
    assert not gradient[..., 13:].any()
    np.testing.assert_allclose(gradient[..., :13], jax.grad(value)(jnp.asarray(logits)), atol=1e-7)


def test_places_without_weight_get_no_gradient():
    logits, targets, weights = inputs(1, (4, 6), 7, 100.0)
    weights[1] = 0
    gradient = np.asarray(jax.grad(lambda x: cross_entropy(x, targets, weights)[0])(jnp.asarray(logits)))
    assert not gradient[1].any()
    assert np.isfinite(gradient).all()
