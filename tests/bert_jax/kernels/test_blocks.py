"""The kernel of blocks against float64: values, gradients, dropout, what moves nothing, and what it costs."""

import functools

import attention_reference as reference
import jax
import jax.numpy as jnp
import kernel_checks as checks
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from bert_jax.analysis.flops import matmul_flops
from bert_jax.config import Mesh
from bert_jax.modeling.kernels import Request, blocks, xla
from bert_jax.modeling.visibility import within
from bert_jax.runtime import sharding

SCALE = 0.4


def seeing(block):
    return functools.partial(blocks.attend, scale=SCALE, block=block)


@pytest.mark.parametrize(
    ("length", "window", "block"),
    [
        (37, 3, 8),  # five blocks, the last with padding
        (37, 8, 8),  # a window as long as a block
        (37, 11, 4),  # three blocks to each side
        (40, 1, 8),  # nothing to pad
        (5, 3, 8),  # one block, longer than the row
        (37, 36, 8),  # the window leaves nothing out
        (101, 3, 0),  # the block that is taken without an option
    ],
)
def test_only_the_window_counts(length, window, block):
    arrays = reference.inputs(0, length, value_size=7)
    if window < length // 3:
        checks.only_a_window_counts(seeing(block), arrays, window, SCALE)
    else:
        attend = lambda q, k, v, segments: seeing(block)(q, k, v, within(segments, window))
        q, k, v, gradient, segments = arrays
        near = np.abs(np.subtract.outer(*[np.arange(length)] * 2)) <= window
        seen = (segments[:, :, None] == segments[:, None, :]) & near
        out, *gradients = checks.values_and_gradients(attend)(q, k, v, segments, gradient)
        reference.close(out, reference.attend(q, k, v, seen, SCALE), 1e-5)
        for actual, exact in zip(gradients, reference.gradients(q, k, v, gradient, seen, SCALE), strict=True):
            reference.close(actual, exact, 1e-5)


def test_documents_and_padding():
    attend = lambda q, k, v, segments: seeing(8)(q, k, v, within(segments, 6))
    checks.documents_do_not_see_each_other(attend, reference.inputs(1))
    checks.padding_is_finite_and_without_gradient(attend, reference.inputs(2))


def test_dropout_drops_the_share_and_keeps_the_mean():
    q, k, v, _, segments = reference.inputs(3)
    rate, draws = 0.25, 400
    attend = lambda key: seeing(8)(q, k, v, within(segments, 6), rate=rate, key=key)
    outs = np.asarray(jax.lax.map(attend, jax.random.split(jax.random.key(0), draws), batch_size=100), np.float64)
    exact = np.asarray(seeing(8)(q, k, v, within(segments, 6)))
    assert (np.abs(outs.mean(0) - exact) / (outs.std(0) / draws**0.5)).max() < 5  # standard errors

    # One-hot values show each probability: zero for a share `rate`, 1 / (1 − rate) of what it was for the rest.
    places = np.broadcast_to(np.eye(37, dtype=np.float32)[None, :, None], (2, 37, 3, 37))
    seen = lambda **how: np.asarray(seeing(8)(q, k, places, within(segments, 6), **how))
    plain, dropped = seen(), seen(rate=rate, key=jax.random.key(1))
    kept = dropped[plain > 0] != 0
    assert abs(1 - kept.mean() - rate) < 5 * (rate * (1 - rate) / kept.size) ** 0.5
    np.testing.assert_allclose(dropped[plain > 0][kept], plain[plain > 0][kept] / (1 - rate), rtol=1e-5)


@pytest.mark.parametrize("number", [3, 17])  # against all keys, and spread over the row again
def test_queries_at_some_places_only(number):
    q, k, v, gradient, segments = reference.inputs(4)
    places = np.random.default_rng(0).integers(0, 37, (2, number))  # some of them twice
    places[:, 1] = places[:, 0]
    at = lambda x: jnp.take_along_axis(x, places[:, :, None, None], 1)
    some = lambda q, k, v: seeing(4)(at(q), k, v, within(segments, 3).at(places))
    every = lambda q, k, v: at(seeing(4)(q, k, v, within(segments, 3)))
    (out, pull), (wanted, pull_wanted) = (jax.vjp(f, *map(jnp.asarray, (q, k, v))) for f in (some, every))
    reference.close(out, np.asarray(wanted), 2e-6)
    for actual, exact in zip(pull(at(gradient)), pull_wanted(at(gradient)), strict=True):
        reference.close(actual, np.asarray(exact), 2e-6)


def test_half_precision_is_as_good_as_the_reference_kernel():
    arrays = reference.inputs(5)
    q, k, v = (jnp.asarray(x, jnp.bfloat16) for x in arrays[:3])
    seen = within(arrays[4], 4)
    exact = xla.attend(*(x.astype(jnp.float32) for x in (q, k, v)), seen, scale=SCALE)
    error = lambda attend: np.abs(np.asarray(attend(q, k, v, seen, scale=SCALE) - exact, np.float64)).mean()
    assert error(functools.partial(blocks.attend, block=8)) < 1.5 * error(xla.attend)


def test_time_and_memory_grow_with_the_length_and_the_window():
    def cost(length: int, window: int) -> tuple[float, int]:
        x = jax.ShapeDtypeStruct((1, length, 2, 16), jnp.float32)
        segments = jax.ShapeDtypeStruct((1, length), jnp.int32)
        loss = lambda q, k, v, segments: blocks.attend(q, k, v, within(segments, window), scale=SCALE).sum()
        step = jax.jit(jax.grad(loss, (0, 1, 2)))
        memory = step.lower(x, x, x, segments).compile().memory_analysis().temp_size_in_bytes
        return matmul_flops(jax.make_jaxpr(step)(x, x, x, segments).jaxpr), memory

    flops, memory = cost(1024, 64)
    assert flops == 6 * 2 * 2 * 1024 * 192 * 16  # six products, of the two heads
    longer, wider = cost(4096, 64), cost(1024, 128)
    assert longer[0] == 4 * flops
    assert longer[1] < 5 * memory  # 16 times, were it quadratic
    assert wider[0] == 2 * flops
    assert wider[1] < 2.5 * memory


def test_rows_and_heads_split_over_a_mesh():
    q, k, v, _, segments = (np.concatenate([x, x[::-1]]) for x in reference.inputs(6, heads=4))
    attend = lambda q, k, v, segments: seeing(8)(q, k, v, within(segments, 6))
    mesh = sharding.make_mesh(Mesh(data=2, tensor=2))
    heads = NamedSharding(mesh, PartitionSpec(("data", "fsdp"), None, "tensor"))
    run = jax.jit(attend, in_shardings=(heads, heads, heads, NamedSharding(mesh, PartitionSpec(("data", "fsdp")))))
    with jax.set_mesh(mesh):
        compiled = run.lower(q, k, v, segments).compile()
        out = compiled(*(jax.device_put(x, heads) for x in (q, k, v)), segments)
    assert "all-gather" not in compiled.as_text()
    assert "all-to-all" not in compiled.as_text()
    reference.close(out, attend(q, k, v, segments), 1e-6)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"window": None}, "within windows alone"),
        ({"ranks": True}, "no order of keys"),
        ({"needs": "vectors"}, "no vectors by distance"),
        ({"length": 383}, "at least 2 times the 192 keys of a block, not of 383 tokens"),
        ({"platform": "gpu", "length": 1535}, "at least 8 times the 192 keys of a block, not of 1535 tokens"),
    ],
)
def test_refusals(asked, why):
    request = {"platform": "cpu", "length": 384, "head_size": 64, "dtype": "float32", "window": 64}
    assert blocks.unsupported(Request(**request)) is None
    assert why in (blocks.unsupported(Request(**request | asked)) or "")
