"""The splash kernel, interpreted on the CPU against float64, on a mesh, and compiled for TPU."""

import functools
import re

import attention_reference as reference
import jax
import jax.numpy as jnp
import kernel_checks as checks
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from bert_jax.analysis.flops import kernels_without_estimate
from bert_jax.config import Mesh
from bert_jax.modeling.kernels import Request, splash
from bert_jax.modeling.visibility import within
from bert_jax.runtime import sharding

SCALE = 0.4
seeing = functools.partial(splash.attend, scale=SCALE, interpret=True)
attend = lambda q, k, v, segments: seeing(q, k, v, within(segments))


@pytest.mark.parametrize(("length", "value_size"), [(37, 5), (300, 11), (700, 5)])  # one block; two, with two kernels
def test_values_and_gradients(length, value_size):
    checks.equal_to_the_definition(attend, reference.inputs(0, length, value_size=value_size), SCALE)


def test_documents_do_not_see_each_other():
    checks.documents_do_not_see_each_other(attend, reference.inputs(1, 300))


def test_windows():
    checks.only_what_is_visible_counts(seeing, "window", reference.inputs(6), SCALE)


@pytest.mark.parametrize(("window", "length"), [(1, 37), (7, 150), (200, 131)])
def test_only_the_window_counts(window, length):
    checks.only_a_window_counts(seeing, reference.inputs(8, length), window, SCALE)


def test_windows_of_longer_rows():
    """More than one block, so that whole blocks are left out."""
    q, k, v, gradient, segments = reference.inputs(7, 700)
    seen = (segments[:, :, None] == segments[:, None, :]) & (np.abs(np.subtract.outer(*[np.arange(700)] * 2)) <= 9)
    run = checks.values_and_gradients(lambda q, k, v, segments: seeing(q, k, v, within(segments, 9)))
    out, *gradients = run(q, k, v, segments, gradient)
    reference.close(out, reference.attend(q, k, v, seen, SCALE), 1e-5)
    for actual, exact in zip(gradients, reference.gradients(q, k, v, gradient, seen, SCALE), strict=True):
        reference.close(actual, exact, 1e-5)


@pytest.mark.parametrize("window", [None, 64])
def test_no_kernel_writes_more_than_the_row_is_long(window):
    """O(L) memory in the backward pass too, and products within the window alone."""
    heads = jax.ShapeDtypeStruct((1, 8192, 3, 64), jnp.bfloat16)
    segments = jax.ShapeDtypeStruct((1, 8192), jnp.int32)
    run = checks.values_and_gradients(lambda q, k, v, s: seeing(q, k, v, within(s, window)))
    calls = list(kernels_without_estimate(jax.make_jaxpr(run)(heads, heads, heads, segments, heads).jaxpr))
    assert len(calls) == 3  # values, the queries' gradient, that of keys and values
    each = 8192 * 3 * 64 * 2  # bytes of q
    assert all(call.bytes < 20 * each for call in calls)
    products = 2 * 8192 * 64 * 3 * sum((2, 3, 4))  # for each key of a query
    assert sum(call.flops for call in calls) == products * (8192 if window is None else 3 * 512)


def test_padding():
    checks.padding_is_finite_and_without_gradient(attend, reference.inputs(2, 150))


def test_queries_at_some_places_only():
    q, k, v, gradient, segments = reference.inputs(3)
    places = np.array([[3, 30, 11], [0, 36, 5]])
    at = lambda x: np.take_along_axis(x, places.reshape(2, 3, *[1] * (x.ndim - 2)), 1)
    out, pull = jax.vjp(lambda q, k, v: seeing(at(q), k, v, within(segments).at(places)), q, k, v)
    reference.close(out, at(reference.attend(q, k, v, segments, SCALE)), 1e-5)
    kept = np.zeros_like(gradient)
    np.put_along_axis(kept, places[:, :, None, None], at(gradient), 1)
    wanted = reference.gradients(q, k, v, kept, segments, SCALE)
    for actual, exact in zip(pull(jnp.asarray(at(gradient)))[1:], wanted[1:], strict=True):
        reference.close(actual, exact, 1e-5)


def test_rows_and_heads_split_over_a_mesh():
    q, k, v, _, segments = (np.concatenate([x, x[::-1]]) for x in reference.inputs(4, heads=4))
    mesh = sharding.make_mesh(Mesh(data=2, tensor=2))
    heads = NamedSharding(mesh, PartitionSpec(("data", "fsdp"), None, "tensor"))
    with jax.set_mesh(mesh):
        out = jax.jit(attend)(*(jax.device_put(x, heads) for x in (q, k, v)), segments)
    assert out.sharding.is_equivalent_to(heads, 4)
    reference.close(out, reference.attend(q, k, v, segments, SCALE), 1e-5)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"platform": "cpu"}, "runs on TPU, not on cpu"),
        ({"dropout": True}, "no dropout"),
        ({"needs": "vectors"}, "no vectors by distance"),
        ({"ranks": True}, "no order of keys"),
        ({"window": 4, "elsewhere": True}, "windows for queries at all places"),
    ],
)
def test_refusals(asked, why):
    request = Request(**{"platform": "tpu", "length": 512, "head_size": 64, "dtype": "bfloat16"} | asked)
    assert why in (splash.unsupported(request) or "")


@pytest.mark.tpu_compile
@pytest.mark.parametrize(("size", "window"), [(64, None), (128, None), (64, 128)])
def test_compiles_for_tpu_without_moving_rows_or_heads(v5e_mesh, size, window):
    mesh = v5e_mesh(data=8, tensor=2)
    place = lambda *axes: NamedSharding(mesh, PartitionSpec(("data", "fsdp"), *axes))
    heads = jax.ShapeDtypeStruct((16, 512, 4, size), jnp.bfloat16, sharding=place(None, "tensor"))
    segments = jax.ShapeDtypeStruct((16, 512), jnp.int32, sharding=place())
    run = checks.values_and_gradients(lambda q, k, v, s: splash.attend(q, k, v, within(s, window), scale=SCALE))
    with jax.set_mesh(mesh):
        compiled = run.lower(heads, heads, heads, segments, heads).compile()
    assert "splash_mha" in compiled.as_text()
    assert not re.search("all-(gather|reduce|to-all)|collective-permute", compiled.as_text())
