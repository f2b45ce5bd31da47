"""LayerNorm and GELU, whose gradients are written by hand, against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from bert_jax.modeling.block import gelu, gelu_tanh
from bert_jax.modeling.layers import normalise

EPSILON = 1e-12


def norm_and_gradients(x, scale, bias, gradient):
    """The definition, its gradient by the chain rule with the whole Jacobian of each row."""
    width = x.shape[-1]
    mean, deviation = x.mean(-1, keepdims=True), np.sqrt(x.var(-1, keepdims=True) + EPSILON)
    y = (x - mean) / deviation
    jacobian = (np.eye(width) - 1 / width - y[..., :, None] * y[..., None, :] / width) / deviation[..., None]
    of_x = np.einsum("...j,...ji->...i", gradient * scale, jacobian)
    rows = tuple(range(x.ndim - 1))
    return y * scale + bias, of_x, (gradient * y).sum(rows), gradient.sum(rows)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("shape", [(3, 37, 101), (1, 8), (5, 1, 24)], ids=str)
def test_layer_norm(shape, biases, dtype, tolerance):
    rng = np.random.default_rng()
    x = jnp.asarray(rng.normal(rng.normal(0, 3), 2, shape), dtype)
    gradient = jnp.asarray(rng.normal(size=shape), dtype)
    scale, bias = (rng.normal(1, 1, shape[-1]).astype(np.float32) for _ in range(2))
    given = (bias,) if biases else ()
    function = lambda x, scale, *bias: normalise(x, scale, bias[0] if bias else None, EPSILON)
    out, pull = jax.vjp(jax.jit(function), x, scale, *given)
    found = [out, *pull(gradient)]
    exact = [np.asarray(a, np.float64) for a in (x, scale, bias if biases else 0 * bias, gradient)]
    for actual, wanted in zip(found, norm_and_gradients(*exact), strict=False):  # without biases one fewer
        actual = np.asarray(actual, np.float64)
        assert np.abs(actual - wanted).max() <= tolerance * max(1, np.abs(wanted).max())
    assert out.dtype == dtype
    assert len(found) == 3 + biases


def test_gelu():
    x = np.concatenate([np.random.default_rng().normal(0, 2, 10**5), np.linspace(-40, 40, 10**4)]).astype(np.float32)
    exact = x.astype(np.float64)
    density = np.exp(-exact * exact / 2) / np.sqrt(2 * np.pi)
    out, pull = jax.vjp(jax.jit(gelu), x)
    assert np.abs(out - exact * ndtr(exact)).max() <= 4e-6  # of 40: a unit in the last place
    small = np.abs(exact) < 3
    assert np.abs(out - exact * ndtr(exact))[small].max() <= 4e-7
    assert np.abs(pull(np.ones_like(x))[0] - (ndtr(exact) + exact * density)).max() <= 4e-7


def test_gelu_in_bf16_is_rounded_once():
    x = jnp.linspace(-6, 6, 2001).astype(jnp.bfloat16)
    exact = np.asarray(x, np.float64)
    wanted = (exact * ndtr(exact)).astype(np.float32)
    close = np.abs(np.asarray(gelu(x), np.float32) - wanted) <= np.abs(wanted) * 2**-8 + 1e-7
    assert close.all()


def test_gelu_by_the_hyperbolic_tangent():
    x = np.concatenate([np.random.default_rng().normal(0, 2, 10**5), np.linspace(-40, 40, 10**4)]).astype(np.float32)
    exact = x.astype(np.float64)
    tanh = np.tanh((2 / np.pi) ** 0.5 * (exact + 0.044715 * exact**3))
    slope = (2 / np.pi) ** 0.5 * (1 + 3 * 0.044715 * exact**2)
    out, pull = jax.vjp(jax.jit(gelu_tanh), x)
    assert np.abs(out - 0.5 * exact * (1 + tanh)).max() <= 4e-6  # of 40: a unit in the last place
    wanted = 0.5 * (1 + tanh) + 0.5 * exact * (1 - tanh**2) * slope
    assert np.abs(pull(np.ones_like(x))[0] - wanted).max() <= 1e-6


@pytest.mark.parametrize("function", [gelu, gelu_tanh])
def test_the_backward_pass_keeps_what_came_in_alone(function):
    x = jnp.linspace(-6, 6, 2001).astype(jnp.bfloat16)
    kept = jax.tree.leaves(jax.vjp(function, x)[1])
    assert [(a.shape, a.dtype) for a in kept] == [(x.shape, x.dtype)]
