"""Products and their gradients against NumPy in float64, in both dtypes, at odd sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.modeling.heads import mlm_head
from bert_jax.modeling.kernels import xla
from bert_jax.modeling.products import affine
from bert_jax.modeling.visibility import within

ROUNDING = {"float32": 2.0**-24, "bfloat16": 2.0**-8}  # half of the distance of neighbours, relative


def draw(seed: int, *shapes: tuple[int, ...], dtype: str) -> list[jax.Array]:
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def check(found: jax.Array, spec: str, x: np.ndarray, y: np.ndarray, dtype: str) -> None:
    """The product by `spec`, rounded once to its dtype after sums in float32."""
    assert found.dtype == dtype
    exact, magnitude = np.einsum(spec, x, y), np.einsum(spec, abs(x), abs(y))
    terms = x.size * y.size / exact.size
    allowed = 1.01 * ROUNDING[dtype] * abs(exact) + ROUNDING["float32"] * (2 + terms**0.5) * magnitude
    assert (abs(np.asarray(found, np.float64) - exact) <= allowed).all()


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize(
    ("rows", "contracted", "rest"),
    [
        ((3, 37), (101,), (3, 2, 7)),
        ((2, 5), (3, 7), (13,)),
        ((1, 1), (1,), (1,)),
        ((1, 128), (1,), (64,)),
        ((64,), (16,), (1,)),
        ((4, 16), (2, 64), (128,)),
    ],
    ids=str,
)
def test_affine(rows, contracted, rest, dtype):
    x, kernel, g = draw(0, (*rows, *contracted), (*contracted, *rest), (*rows, *rest), dtype=dtype)
    y, gradients = jax.vjp(jax.jit(lambda x, kernel: affine(x, kernel, None, len(contracted))), x, kernel)
    of_x, of_kernel = gradients(g)
    x64, k64, g64 = (
        np.asarray(a, np.float64).reshape(s)
        for a, s in (
            (x, (-1, np.prod(contracted))),
            (kernel, (np.prod(contracted), -1)),
            (g, (-1, np.prod(rest))),
        )
    )
    assert y.shape == (*rows, *rest)
    check(y.reshape(-1, np.prod(rest)), "nc,cr->nr", x64, k64, dtype)
    check(of_x.reshape(x64.shape), "nr,cr->nc", g64, k64, dtype)
    check(of_kernel.reshape(k64.shape), "nc,nr->cr", x64, g64, dtype)


@pytest.mark.parametrize("dtype", ROUNDING)
def test_a_bias_is_added_and_its_gradient_summed_in_float32(dtype):
    x, kernel = draw(1, (5, 1001, 3), (3, 2, 4), dtype=dtype)
    bias = jnp.asarray(np.random.default_rng(2).normal(size=(2, 4)), jnp.float32)
    y, gradients = jax.vjp(jax.jit(affine), x, kernel, bias)
    np.testing.assert_array_equal(y, affine(x, kernel) + bias.astype(dtype))
    of_bias = gradients(jnp.ones_like(y))[2]
    assert of_bias.dtype == jnp.float32
    np.testing.assert_array_equal(of_bias, np.full((2, 4), 5005))  # bf16 cannot say this number


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize(("parts", "places", "words", "width"), [(1, 37, 101, 16), (2, 3, 7, 5), (1, 1, 1, 1)])
def test_logits_and_their_gradients(parts, places, words, width, dtype):
    x, table = draw(3, (parts, places, width), (parts, words, width), dtype=dtype)
    bias, g = draw(4, (words,), (parts, places, words), dtype="float32")
    y, gradients = jax.vjp(jax.jit(mlm_head.project), x, table, bias)
    of_x, of_table, of_bias = gradients(g)
    x64, t64, b64, g64 = (np.asarray(a, np.float64) for a in (x, table, bias, g))
    rounded = np.asarray(g.astype(dtype), np.float64)
    np.testing.assert_allclose(y, np.einsum("npd,nvd->npv", x64, t64) + b64, atol=1e-5 * width)
    check(of_x, "npv,nvd->npd", rounded, t64, dtype)
    check(of_table, "npv,npd->nvd", rounded, x64, dtype)
    np.testing.assert_allclose(of_bias, g64.sum((0, 1)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "length", "heads_", "size"), [(1, 1, 1, 1), (2, 37, 3, 5), (1, 16, 1, 64), (3, 2, 2, 1)], ids=str
)
def test_bf16_layers_run_at_any_size(rows, length, heads_, size):
    """XLA's CPU compiler once made products of bf16 that its runtime then refused."""
    width = heads_ * size
    x, qkv, output = draw(5, (rows, length, width), (width, 3, heads_, size), (heads_, size, width), dtype="bfloat16")

    def loss(x: jax.Array, qkv: jax.Array, output: jax.Array) -> jax.Array:
        q, k, v = (affine(x, qkv * width**-0.5)[:, :, i] for i in range(3))
        found = xla.attend(q, k, v, within(jnp.ones((rows, length), jnp.int32)), scale=size**-0.5)
        return jnp.square(affine(found, output * width**-0.5, None, 2).astype(jnp.float32)).mean()

    run = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    found, wanted = run(x, qkv, output), run(*(a.astype(jnp.float32) for a in (x, qkv, output)))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(np.asarray(a, np.float32), b, atol=0.05 * float(jnp.abs(b).max()) + 1e-6)
