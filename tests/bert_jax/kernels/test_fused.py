"""The fused kernel, interpreted on the CPU against the definition in float64, on a mesh, and compiled for TPU."""

import dataclasses
import functools
import re

import attention_reference as reference
import jax
import jax.numpy as jnp
import kernel_checks as checks
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from bert_jax.config import Mesh, Model
from bert_jax.modeling import bert
from bert_jax.modeling.kernels import Request, fused, xla
from bert_jax.modeling.visibility import within
from bert_jax.runtime import sharding
from configuration.variants import use

SCALE = 0.4
PLACES = np.array([[3, 30, 11, 36], [0, 36, 5, 5]])
seeing = functools.partial(fused.attend, scale=SCALE, interpret=True, block=8)
in_one_block = functools.partial(fused.attend, scale=SCALE, interpret=True)
attend = lambda q, k, v, segments: seeing(q, k, v, within(segments))


@pytest.mark.parametrize(("length", "value_size"), [(37, 5), (150, 11)])
def test_values_and_gradients(length, value_size):
    checks.equal_to_the_definition(attend, reference.inputs(0, length, value_size=value_size), SCALE)


def test_documents_do_not_see_each_other():
    checks.documents_do_not_see_each_other(attend, reference.inputs(1))


@pytest.mark.parametrize(("window", "length"), [(1, 37), (7, 61)])
def test_only_the_window_counts(window, length):
    checks.only_a_window_counts(seeing, reference.inputs(2, length), window, SCALE)


def test_padding():
    checks.padding_is_finite_and_without_gradient(attend, reference.inputs(3))


@pytest.mark.parametrize("kernel", [seeing, in_one_block], ids=["blocks", "one block"])
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("places", [None, PLACES], ids=["everywhere", "places"])
def test_dropout(monkeypatch, kernel, window, places):
    arrays = reference.inputs(4, value_size=7)
    checks.dropout_is_that_of_the_mask(monkeypatch, kernel, arrays, SCALE, window, places)


def dropped(q, k, v, segments, key):
    return seeing(q, k, v, within(segments), rate=0.3, key=key)


def test_documents_are_isolated_under_dropout():
    key = jax.random.key(3)
    checks.documents_do_not_see_each_other(functools.partial(dropped, key=key), reference.inputs(1))


@pytest.mark.parametrize(
    "sizes", [Mesh(data=2, tensor=2), Mesh(data=4), Mesh(replica=2, data=1, fsdp=2)], ids=["tensor", "data", "fsdp"]
)
def test_a_mesh_changes_neither_the_mask_nor_any_gradient(sizes):
    q, k, v, gradient, segments = (np.concatenate([x, x[::-1]]) for x in reference.inputs(5, heads=4))
    run = lambda key: checks.values_and_gradients(functools.partial(dropped, key=key))
    alone = run(jax.random.key(4))(q, k, v, segments, gradient)
    mesh = sharding.make_mesh(sizes)
    heads = NamedSharding(mesh, PartitionSpec(("replica", "data", "fsdp"), None, "tensor"))
    place = lambda x: jax.device_put(x, heads)
    with jax.set_mesh(mesh):
        split = run(jax.random.key(4))(place(q), place(k), place(v), segments, place(gradient))
    assert split[0].sharding.is_equivalent_to(heads, 4)
    for ours, wanted in zip(split, alone, strict=True):
        np.testing.assert_allclose(ours, wanted, atol=1e-6)


def test_rows_of_model_copies_have_masks_of_the_global_batch():
    """Within `per_replica`, where each copy of the model only has its own rows."""
    q, k, v, _, segments = (np.concatenate([x, x[::-1]]) for x in reference.inputs(6, heads=4))
    batch = {"q": q, "k": k, "v": v, "segments": segments, "row": np.eye(4, dtype=np.float32)}

    def outputs(params, constants, batch, key):
        out = dropped(batch["q"], batch["k"], batch["v"], batch["segments"], key)
        return jnp.einsum("br,blnh->rlnh", batch["row"], out)  # each row at its number in the global batch

    alone = outputs({}, {}, batch, jax.random.key(5))
    mesh = sharding.make_mesh(Mesh(data=2, fsdp=2))
    with jax.set_mesh(mesh):
        split = jax.jit(sharding.per_replica(outputs))({}, {}, sharding.put_batch(batch, mesh), jax.random.key(5))
    np.testing.assert_allclose(split, alone, atol=1e-6)


MODEL = Model(
    vocab_size=101, layers=3, width=18, heads=3, mlp_width=20, max_length=37, dropout=0.0, attention_dropout=0.3,
    kernel=use("fused", interpret=True), window=9, global_every=3,
)  # fmt: skip


def batch_of_documents():
    rng, zeros = np.random.default_rng(0), np.zeros((2, 37), np.int32)
    segments = reference.inputs(0)[4]
    positions = np.tile(np.arange(37), (2, 1))
    return {
        "tokens": rng.integers(0, 101, (2, 37)),
        "segments": segments,
        "positions": positions,
        "token_types": zeros,
    }


def value_and_gradients(model, places=None):
    """Of a function of the states at places under dropout, by the parameters."""
    params, key = bert.init(model, jax.random.key(0)), jax.random.key(1)
    value = lambda params: jnp.sin(bert.encode(model, params, batch_of_documents(), key, places)).sum()
    return jax.jit(jax.value_and_grad(value))(params)


def close(ours, wanted):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-5), ours, wanted)


def test_an_encoder_has_the_gradients_of_the_reference_kernel_with_the_same_masks(monkeypatch):
    monkeypatch.setattr(xla, "dropout_mask", lambda shape, rate, key: checks.dropout_mask(key, rate, shape))
    close(value_and_gradients(MODEL), value_and_gradients(dataclasses.replace(MODEL, kernel=use("xla"))))


@pytest.mark.parametrize("remat", ["dots", "full"])
def test_what_is_computed_again_has_the_same_masks(remat):
    close(value_and_gradients(dataclasses.replace(MODEL, remat=remat), PLACES), value_and_gradients(MODEL, PLACES))


def test_the_last_layer_has_the_same_masks_at_some_places_as_everywhere():
    params, batch = bert.init(MODEL, jax.random.key(0)), batch_of_documents()
    run = jax.jit(lambda places: bert.encode(MODEL, params, batch, jax.random.key(1), places))
    everywhere = np.take_along_axis(np.asarray(run(None)), PLACES[:, :, None], 1)
    np.testing.assert_allclose(run(PLACES), everywhere, atol=2e-6)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"platform": "cpu"}, "runs on TPU, not on cpu"),
        ({"needs": "vectors"}, "no vectors by distance"),
        ({"ranks": True}, "no order of keys"),
        ({"length": 1025}, "rows of up to 1024 tokens, not of 1025"),
    ],
)
def test_refusals(asked, why):
    request = Request(**{"platform": "tpu", "length": 512, "head_size": 64, "dtype": "bfloat16"} | asked)
    assert why in (fused.unsupported(request) or "")


@pytest.mark.tpu_compile
@pytest.mark.parametrize(
    ("length", "size", "dtype", "window", "queries"),
    [(512, 64, "bfloat16", None, 512), (1024, 128, "float32", None, 1024), (500, 64, "bfloat16", 128, 80)],
)
def test_compiles_for_tpu_without_moving_rows_or_heads(v5e_mesh, length, size, dtype, window, queries):
    mesh = v5e_mesh(data=8, tensor=2)
    place = lambda *axes: NamedSharding(mesh, PartitionSpec(("data", "fsdp"), *axes))
    vectors = lambda length: jax.ShapeDtypeStruct((16, length, 4, size), dtype, sharding=place(None, "tensor"))
    ids = lambda length: jax.ShapeDtypeStruct((16, length), jnp.int32, sharding=place())
    how = {"scale": SCALE, "rate": 0.1, "key": jax.random.key(0)}
    seen = lambda ids: within(ids[0], window) if queries == length else within(ids[0], window).at(ids[1])
    run = checks.values_and_gradients(lambda q, k, v, ids: fused.attend(q, k, v, seen(ids), **how))
    with jax.set_mesh(mesh):
        keys, some = vectors(length), vectors(queries)
        compiled = run.lower(some, keys, keys, (ids(length), ids(queries)), some).compile()
    assert "fused_forward" in compiled.as_text()
    assert "fused_backward" in compiled.as_text()
    assert not re.search("all-(gather|reduce|to-all)|collective-permute", compiled.as_text())
