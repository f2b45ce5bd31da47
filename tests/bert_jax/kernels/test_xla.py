"""The reference kernel against the definition in NumPy float64: values, gradients, dropout, isolation, memory."""

import functools

import attention_reference as reference
import jax
import jax.numpy as jnp
import kernel_checks as checks
import numpy as np
import pytest

from bert_jax.modeling.kernels import Bias, Columns, Products, Vectors, xla
from bert_jax.modeling.visibility import across, within

SCALE = 5**-0.5
DISTANCES = [None, 1, 4, 36, 50]  # None: no table; 36 is the longest distance there is, 50 is never reached


def relative(distance, size=5):
    return None if distance is None else Vectors(jnp.asarray(reference.table(distance, size), jnp.float32))


def rows(distance, size=5):
    return None if distance is None else reference.table(distance, size)


def test_the_reference_gradients_are_those_of_finite_differences():
    q, k, v, gradient, segments = reference.inputs(0)
    rng = np.random.default_rng(1)
    towards = [rng.normal(size=x.shape) for x in (q, k, v)]
    step = 1e-5
    loss = lambda t: (
        gradient
        * reference.attend(*(x + t * d for x, d in zip((q, k, v), towards, strict=True)), segments, SCALE, rows(4))
    ).sum()
    slope = (loss(step) - loss(-step)) / (2 * step)
    exact = reference.gradients(q, k, v, gradient, segments, SCALE, rows(4))
    np.testing.assert_allclose(sum((g * d).sum() for g, d in zip(exact, towards, strict=True)), slope, rtol=1e-8)


def kernel(distance):
    return lambda q, k, v, segments: xla.attend(q, k, v, within(segments), scale=SCALE, addition=relative(distance))


@pytest.mark.parametrize("distance", DISTANCES)
def test_values_and_gradients(distance):
    checks.equal_to_the_definition(kernel(distance), reference.inputs(2), SCALE, rows(distance))


def test_values_may_have_another_size():
    q, k, v, _, segments = reference.inputs(3, value_size=11)
    out = xla.attend(q, k, v, within(segments), scale=SCALE)
    assert out.shape == (2, 37, 3, 11)
    reference.close(out, reference.attend(q, k, v, segments, SCALE), 2e-6)


def columns_apart_and_together(rate=0.0):
    """Attention with columns that all rows and heads share, and the same with keys and values that have them."""
    q, k, v, gradient, segments = reference.inputs(8, size=9, value_size=11)
    table = np.random.default_rng(9).normal(size=(37, 4)).astype(np.float32)
    k, v = k[..., :5], v[..., :7]
    wide = lambda x: jnp.concatenate([x, jnp.broadcast_to(table[:, None], (*x.shape[:3], 4))], -1)
    how = {"scale": SCALE, "rate": rate, "key": jax.random.key(3)}
    apart = lambda q, k, v: xla.attend(q, k, v, within(segments), addition=Columns(jnp.asarray(table)), **how)
    together = lambda q, k, v: xla.attend(q, wide(k), wide(v), within(segments), **how)
    return apart, together, (q, k, v), gradient, (segments, wide)


def test_shared_columns_against_the_definition():
    apart, _, (q, k, v), gradient, (segments, wide) = columns_apart_and_together()
    out, pull = jax.vjp(apart, q, k, v)
    k, v = np.asarray(wide(k), np.float64), np.asarray(wide(v), np.float64)
    reference.close(out, reference.attend(q, k, v, segments, SCALE), 1e-5)
    wanted = reference.gradients(q, k, v, gradient, segments, SCALE)
    for actual, exact in zip(pull(gradient), wanted, strict=True):
        reference.close(actual, exact[..., : actual.shape[-1]], 1e-5)


def test_shared_columns_under_dropout():
    apart, together, arrays, gradient, _ = columns_apart_and_together(rate=0.25)
    for one, other in zip(jax.vjp(apart, *arrays)[1](gradient), jax.vjp(together, *arrays)[1](gradient), strict=True):
        reference.close(one, other, 1e-5)
    reference.close(apart(*arrays), together(*arrays), 1e-5)


@pytest.mark.parametrize("distance", [None, 4])
def test_dropout_drops_the_share_and_keeps_the_mean(distance):
    q, k, v, _, segments = reference.inputs(4)
    rate, draws = 0.25, 800
    how = {"scale": SCALE, "addition": relative(distance), "rate": rate}
    attend = lambda key: xla.attend(q, k, v, within(segments), key=key, **how)
    outs = np.asarray(jax.lax.map(attend, jax.random.split(jax.random.key(0), draws), batch_size=200), np.float64)
    exact = reference.attend(q, k, v, segments, SCALE, rows(distance))
    error = np.abs(outs.mean(0) - exact) / (outs.std(0) / draws**0.5)
    assert error.max() < 5  # standard errors, the largest of 1,110
    assert outs.std(0).min() > 0

    # One-hot values show each probability: zero for a share `rate`, 1 / (1 − rate) of what it was for the rest.
    places = np.broadcast_to(np.eye(37, dtype=np.float32)[None, :, None], (2, 37, 3, 37))
    seen = lambda **how: np.asarray(xla.attend(q, k, places, within(segments), scale=SCALE, **how))
    plain, dropped = seen(), seen(rate=rate, key=jax.random.key(1))
    kept = dropped[plain > 0] != 0
    assert abs(1 - kept.mean() - rate) < 5 * (rate * (1 - rate) / kept.size) ** 0.5
    np.testing.assert_allclose(dropped[plain > 0][kept], plain[plain > 0][kept] / (1 - rate), rtol=1e-5)


def test_relative_values_are_summed_with_the_probabilities_that_dropout_left():
    q, k, _, _, segments = reference.inputs(7, size=37)
    attend = lambda v: np.asarray(
        xla.attend(q, k, v, within(segments), scale=SCALE, addition=relative(4, 37), rate=0.25, key=jax.random.key(2)),
        np.float64,
    )
    places = np.broadcast_to(np.eye(37, dtype=np.float32)[None, :, None], q.shape)
    relative_part = attend(np.zeros_like(places))
    dropped = attend(places) - relative_part
    assert (np.abs(dropped) < 1e-6).mean() > 0.25
    exact = np.einsum("binj,ijh->binh", dropped, reference.vectors(rows(4, 37), 37))
    reference.close(relative_part, exact, 1e-6)


def test_queries_at_some_places_only():
    q, k, v, _, segments = reference.inputs(8)
    places = np.array([[3, 30, 11], [0, 36, 5]])
    some = xla.attend(
        np.take_along_axis(q, places[:, :, None, None], 1),
        k,
        v,
        within(segments).at(places),
        scale=SCALE,
    )
    everywhere = reference.attend(q, k, v, segments, SCALE)
    reference.close(some, np.take_along_axis(everywhere, places[:, :, None, None], 1), 2e-6)


@pytest.mark.parametrize("distance", [None, 4])
def test_documents_do_not_see_each_other(distance):
    checks.documents_do_not_see_each_other(kernel(distance), reference.inputs(5))


@pytest.mark.parametrize("distance", [None, 4])
def test_padding(distance):
    checks.padding_is_finite_and_without_gradient(kernel(distance), reference.inputs(6))


def test_no_array_of_length_by_length_by_head_size():
    """Forward and backward of one head at length 512 and head size 64 take far less than [512, 512, 64] would."""
    length, size = 512, 64
    shape = jax.ShapeDtypeStruct((1, length, 1, size), jnp.float32)
    segments = jax.ShapeDtypeStruct((1, length), jnp.int32)

    def loss(q, k, v, segments):
        return xla.attend(q, k, v, within(segments), scale=0.125, addition=relative(64, size)).sum()

    compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(shape, shape, shape, segments).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < length * length * size * 4 / 4


@pytest.mark.parametrize("kind", checks.KINDS)
def test_what_queries_see(kind):
    checks.only_what_is_visible_counts(functools.partial(xla.attend, scale=SCALE), kind, reference.inputs(9), SCALE)


@pytest.mark.parametrize(("window", "length"), [(1, 37), (7, 40), (50, 37)])
def test_only_the_window_counts(window, length):
    arrays = reference.inputs(14, length)
    if window < length:
        checks.only_a_window_counts(functools.partial(xla.attend, scale=SCALE), arrays, window, SCALE)
    else:
        q, k, v, _, segments = arrays
        everywhere = xla.attend(q, k, v, within(segments), scale=SCALE)
        np.testing.assert_array_equal(xla.attend(q, k, v, within(segments, window), scale=SCALE), everywhere)


def test_a_window_at_some_places():
    q, k, v, _, segments = reference.inputs(10)
    places = np.array([[3, 30, 11], [0, 36, 5]])
    at = lambda x: np.take_along_axis(x, places[:, :, None, None], 1)
    everywhere = xla.attend(q, k, v, within(segments, 3), scale=SCALE)
    reference.close(xla.attend(at(q), k, v, within(segments, 3).at(places), scale=SCALE), at(everywhere), 2e-6)


def test_cross_attention():
    q, _, _, gradient, query_segments = reference.inputs(11, length=19)
    _, k, v, _, segments = reference.inputs(12)
    seen = query_segments[:, :, None] == segments[:, None, :]
    seeing = across(jnp.asarray(query_segments), jnp.asarray(segments))
    run = checks.values_and_gradients(lambda q, k, v, seeing: xla.attend(q, k, v, seeing, scale=SCALE))
    out, *gradients = run(q, k, v, seeing, gradient)
    reference.close(out, reference.attend(q, k, v, seen, SCALE), 1e-5)
    for actual, exact in zip(gradients, reference.gradients(q, k, v, gradient, seen, SCALE), strict=True):
        reference.close(actual, exact, 1e-5)


def test_biases_by_distance():
    q, k, v, _, segments = reference.inputs(13)
    rng = np.random.default_rng(0)
    table = rng.normal(size=(3, 9))  # of three heads, up to four tokens apart
    i, j = np.indices((37, 37))
    dense = table[:, np.clip(j - i, -4, 4) + 4]
    same = segments[:, None, :, None] == segments[:, None, None, :]
    scores = np.where(same, np.einsum("binh,bjnh->bnij", *map(np.float64, (q, k))) * SCALE + dense, -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    exact = np.einsum("bnij,bjng->bing", e / e.sum(-1, keepdims=True), v)
    out = xla.attend(q, k, v, within(segments), scale=SCALE, addition=Bias(jnp.asarray(table, jnp.float32)))
    reference.close(out, exact, 2e-6)


@pytest.mark.parametrize("terms", [("keys",), ("queries",), ("keys", "queries")], ids=str)
def test_products_by_distance(terms):
    q, k, v, _, segments = reference.inputs(15)
    rng = np.random.default_rng(0)
    tables = {name: rng.normal(size=(4, 3, 5)) if name in terms else None for name in ("keys", "queries")}
    rows = np.array([3, 3, 0, 2, 2, 1, 0])  # up to three tokens apart, in any order
    i, j = np.indices((37, 37))
    at = rows[np.clip(j - i, -3, 3) + 3]
    scores = np.einsum("binh,bjnh->bnij", *map(np.float64, (q, k)))
    if "keys" in terms:
        scores += np.einsum("binh,ijnh->bnij", q, tables["keys"][at])
    if "queries" in terms:
        scores += np.einsum("bjnh,ijnh->bnij", k, tables["queries"][at])
    same = segments[:, None, :, None] == segments[:, None, None, :]
    scores = np.where(same, scores * SCALE, -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    exact = np.einsum("bnij,bjng->bing", e / e.sum(-1, keepdims=True), v)
    given = {name: None if x is None else jnp.asarray(x, jnp.float32) for name, x in tables.items()}
    out = xla.attend(q, k, v, within(segments), scale=SCALE, addition=Products(jnp.asarray(rows), **given))
    reference.close(out, exact, 2e-6)


def test_products_by_distance_make_no_array_of_length_by_length_by_head_size():
    length, size, rows = 512, 64, 64
    shape = jax.ShapeDtypeStruct((1, length, 1, size), jnp.float32)
    table = jax.ShapeDtypeStruct((rows, 1, size), jnp.float32)
    segments = jax.ShapeDtypeStruct((1, length), jnp.int32)
    by_distance = jnp.arange(2 * length - 1) % rows

    def loss(q, k, v, keys, queries, segments):
        addition = Products(by_distance, keys, queries)
        return xla.attend(q, k, v, within(segments), scale=0.125, addition=addition).sum()

    lowered = jax.jit(jax.grad(loss, (0, 1, 2, 3, 4))).lower(shape, shape, shape, table, table, segments)
    assert lowered.compile().memory_analysis().temp_size_in_bytes < length * length * size * 4 / 4
