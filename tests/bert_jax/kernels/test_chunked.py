"""The chunked kernel against float64: values, gradients, what moves nothing, places, a mesh, and what it costs."""

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
from bert_jax.modeling.kernels import Request, chunked, xla
from bert_jax.modeling.visibility import within
from bert_jax.runtime import sharding

SCALE = 0.4


def seeing(block):
    return functools.partial(chunked.attend, scale=SCALE, block=block)


def attend(block):
    return lambda q, k, v, segments: seeing(block)(q, k, v, within(segments))


@pytest.mark.parametrize(
    ("length", "block"),
    [(37, 8), (37, 37), (40, 8), (37, 512), (101, 1)],  # five blocks, the last with padding; one; whole ones; …
)
def test_values_and_gradients(length, block):
    checks.equal_to_the_definition(attend(block), reference.inputs(0, length, value_size=7), SCALE)


def test_documents_and_padding():
    checks.documents_do_not_see_each_other(attend(8), reference.inputs(1))
    checks.padding_is_finite_and_without_gradient(attend(8), reference.inputs(2))


@pytest.mark.parametrize("kind", [kind for kind in checks.KINDS if kind not in ("window", "all at once")])
def test_only_what_is_visible_counts(kind):
    checks.only_what_is_visible_counts(seeing(8), kind, reference.inputs(3), SCALE)


def test_queries_at_some_places_only():
    q, k, v, _, segments = reference.inputs(4)
    places = np.random.default_rng(0).integers(0, 37, (2, 11))  # some of them twice
    at = lambda x: np.take_along_axis(x, places[:, :, None, None], 1)
    everywhere = reference.attend(q, k, v, segments, SCALE)
    reference.close(seeing(4)(at(q), k, v, within(segments).at(places)), at(everywhere), 1e-5)


def test_bfloat16_is_that_of_the_reference_kernel():
    q, k, v, gradient, segments = (jnp.asarray(x) for x in reference.inputs(5))
    q, k, v, gradient = (x.astype(jnp.bfloat16) for x in (q, k, v, gradient))
    plain = lambda q, k, v, segments: xla.attend(q, k, v, within(segments), scale=SCALE)
    found = checks.values_and_gradients(attend(8))(q, k, v, segments, gradient)
    wanted = checks.values_and_gradients(plain)(q, k, v, segments, gradient)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == jnp.bfloat16
        reference.close(a.astype(jnp.float32), np.asarray(b, np.float64), 0.02)


@pytest.mark.parametrize("places", [None, np.random.default_rng(0).integers(0, 37, (2, 11))])
@pytest.mark.parametrize("block", [8, 37])
def test_dropout(monkeypatch, block, places):
    checks.dropout_is_that_of_the_mask(monkeypatch, seeing(block), reference.inputs(7), SCALE, places=places)


def dropped(q, k, v, segments):
    return seeing(8)(q, k, v, within(segments), rate=0.3, key=jax.random.key(3))


def test_documents_are_isolated_under_dropout():
    checks.documents_do_not_see_each_other(dropped, reference.inputs(8))


@pytest.mark.parametrize("sizes", [Mesh(data=2, tensor=2), Mesh(data=4)], ids=["tensor", "data"])
def test_a_mesh_changes_neither_the_mask_of_dropout_nor_any_gradient(sizes):
    q, k, v, gradient, segments = (np.concatenate([x, x[::-1]]) for x in reference.inputs(9, heads=4))
    alone = checks.values_and_gradients(dropped)(q, k, v, segments, gradient)
    heads = NamedSharding(mesh := sharding.make_mesh(sizes), PartitionSpec(("data", "fsdp"), None, "tensor"))
    with jax.set_mesh(mesh):
        placed = [jax.device_put(x, heads) for x in (q, k, v, gradient)]
        split = checks.values_and_gradients(dropped)(*placed[:3], segments, placed[3])
    for a, b in zip(split, alone, strict=True):
        reference.close(a, np.asarray(b, np.float64), 1e-5)


def test_rows_and_heads_split_over_a_mesh():
    q, k, v, _, segments = (np.concatenate([x, x[::-1]]) for x in reference.inputs(6, heads=4))
    heads = NamedSharding(
        mesh := sharding.make_mesh(Mesh(data=2, tensor=2)), PartitionSpec(("data", "fsdp"), None, "tensor")
    )
    with jax.set_mesh(mesh):
        run = jax.jit(attend(8))
        placed = [jax.device_put(x, heads) for x in (q, k, v)]
        out = run(*placed, segments)
        assert "all-gather" not in run.lower(*placed, segments).compile().as_text()
    assert out.sharding.is_equivalent_to(heads, 4)
    reference.close(out, reference.attend(q, k, v, segments, SCALE), 1e-5)


def test_memory_grows_with_the_length_and_scores_are_computed_twice():
    def cost(length):
        heads, segments = jax.ShapeDtypeStruct((2, length, 3, 16), jnp.float32), jnp.ones((2, length), jnp.int32)
        run = checks.values_and_gradients(attend(64))
        jaxpr = jax.make_jaxpr(run)(heads, heads, heads, segments, heads).jaxpr
        compiled = run.lower(heads, heads, heads, segments, heads).compile()
        return compiled.memory_analysis().temp_size_in_bytes, matmul_flops(jaxpr)

    (less, few), (more, many) = cost(512), cost(2048)
    assert more < 4.1 * less
    assert more < 2 * 3 * 2048**2 * 4 / 4  # a quarter of one array of scores
    assert (few, many) == tuple(2 * 7 * 2 * 3 * 16 * length**2 for length in (512, 2048))


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"window": 4}, "no windows"),
        ({"needs": "vectors"}, "no vectors by distance"),
        ({"length": 511}, "at least 512 tokens, not of 511"),
        ({"length": 63, "dtype": "float32"}, "at least 64 tokens, not of 63"),
        ({"training": True, "dropout": True, "length": 511}, "at least 512 tokens, not of 511"),
        ({"training": True}, "at least 2048 tokens, not of 512"),
    ],
)
def test_refusals(asked, why):
    request = {"platform": "cpu", "length": 512, "head_size": 8, "dtype": "bfloat16"} | asked
    assert why in chunked.build().unsupported(Request(**request))


def test_rows_of_any_length_where_asked():
    request = Request(platform="gpu", length=1, head_size=8, dtype="float32", training=True)
    assert chunked.build(shortest=1).unsupported(request) is None
