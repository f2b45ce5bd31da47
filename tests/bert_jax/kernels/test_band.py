"""The band kernel, interpreted on the CPU against the definition in float64, on a mesh, and compiled for TPU."""

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
from bert_jax.modeling import bert, heads
from bert_jax.modeling.choice import choose, request_for
from bert_jax.modeling.kernels import Request, Sinusoids, Vectors, band, xla
from bert_jax.modeling.visibility import within
from bert_jax.runtime import sharding
from configuration.variants import ConfigError, use

SCALE, SIZE = 0.4, 6
TPU = {"platform": "tpu", "length": 512, "head_size": 64, "dtype": "bfloat16"}
CLIPPED = use("functional_relative", max_distance=64)


def kernel(distance, block=8):
    attend = functools.partial(band.attend, scale=SCALE, addition=Sinusoids(distance), interpret=True, block=block)
    return lambda q, k, v, segments: attend(q, k, v, within(segments))


@pytest.mark.parametrize(
    ("distance", "block"),
    [
        (1, 8),  # five blocks whose bands are three blocks wide
        (12, 8),  # bands that reach past both ends
        (35, 8),  # only the corners are clipped
        (50, 8),  # nothing is
        (4, 128),  # one block
    ],
)
def test_values_and_gradients(distance, block):
    arrays, rows = reference.inputs(0, size=SIZE), reference.table(distance, SIZE)
    checks.equal_to_the_definition(kernel(distance, block), arrays, SCALE, rows)


@pytest.mark.parametrize("block", [8, 128])
def test_values_and_gradients_without_clipping(block):
    ahead = reference.table(18, SIZE)  # of the distances 0 … 36
    rows = np.concatenate([ahead[:0:-1] * np.tile([-1, 1], SIZE // 2), ahead])  # behind, sines change their sign
    checks.equal_to_the_definition(kernel(0, block), reference.inputs(6, size=SIZE), SCALE, rows)


@pytest.mark.slow
def test_longer_rows_in_blocks_of_a_tpu():
    arrays, rows = reference.inputs(1, 430, size=10), reference.table(64, 10)
    checks.equal_to_the_definition(kernel(64, block=128), arrays, SCALE, rows)


def test_documents_do_not_see_each_other():
    checks.documents_do_not_see_each_other(kernel(4), reference.inputs(2, size=SIZE))


def test_padding():
    checks.padding_is_finite_and_without_gradient(kernel(4), reference.inputs(3, size=SIZE))


@pytest.mark.parametrize(("distance", "block"), [(4, 8), (12, 8), (35, 128), (0, 8), (0, 128)])
def test_dropout(monkeypatch, distance, block):
    """Also of the sums of relative vectors; with and without clipping, odd lengths, three heads, documents apart."""
    ours = functools.partial(band.attend, scale=SCALE, addition=Sinusoids(distance), interpret=True, block=block)
    ahead = reference.table(18, SIZE)
    rows = np.concatenate([ahead[:0:-1] * np.tile([-1, 1], SIZE // 2), ahead])  # of unclipped distances
    table = Vectors(jnp.asarray(reference.table(distance, SIZE) if distance else rows, jnp.float32))
    checks.dropout_is_that_of_the_mask(monkeypatch, ours, reference.inputs(7, size=SIZE), SCALE, addition=table)


def test_half_precision_is_as_good_as_the_reference_kernel():
    """Both round to bfloat16; neither may be much further from float64 than the other."""
    q, k, v, gradient, segments = reference.inputs(4, size=SIZE)
    q, k, v, gradient = (jnp.asarray(x, jnp.bfloat16) for x in (q, k, v, gradient))
    table = Vectors(jnp.asarray(reference.table(4, SIZE), jnp.float32))
    plain = lambda q, k, v, segments: xla.attend(q, k, v, within(segments), scale=SCALE, addition=table)
    exact = [np.asarray(x, np.float64) for x in (q, k, v, gradient)]
    wanted = [
        reference.attend(*exact[:3], segments, SCALE, reference.table(4, SIZE)),
        *reference.gradients(*exact, segments, SCALE, reference.table(4, SIZE)),
    ]
    error = lambda attend: [
        np.abs(np.asarray(actual, np.float64) - exact).mean()
        for actual, exact in zip(checks.values_and_gradients(attend)(q, k, v, segments, gradient), wanted, strict=True)
    ]
    for ours, theirs in zip(error(kernel(4)), error(plain), strict=True):
        assert ours < 1.5 * theirs


def test_rows_and_heads_split_over_a_mesh():
    q, k, v, _, segments = (np.concatenate([x, x[::-1]]) for x in reference.inputs(5, heads=4, size=SIZE))
    mesh = sharding.make_mesh(Mesh(data=2, tensor=2))
    heads = NamedSharding(mesh, PartitionSpec(("data", "fsdp"), None, "tensor"))
    with jax.set_mesh(mesh):
        out = jax.jit(kernel(4))(*(jax.device_put(x, heads) for x in (q, k, v)), segments)
    assert out.sharding.is_equivalent_to(heads, 4)
    reference.close(out, reference.attend(q, k, v, segments, SCALE, reference.table(4, SIZE)), 1e-5)


@pytest.mark.parametrize("max_distance", [4, pytest.param(0, marks=pytest.mark.slow)])
def test_the_encoder_is_the_same_with_this_kernel_and_the_reference(max_distance):
    sizes = {"vocab_size": 101, "layers": 2, "width": 18, "heads": 3, "mlp_width": 20, "max_length": 37}
    model = Model(positions=use("functional_relative", max_distance=max_distance), **sizes)
    params = bert.init(model, jax.random.key(0), heads.parts(model, "mlm_head"))
    rng = np.random.default_rng(0)
    batch = {
        "tokens": rng.integers(0, 101, (2, 37)),
        "segments": reference.inputs(0)[4],
        "positions": np.zeros((2, 37), np.int32),
        "token_types": rng.integers(0, 2, (2, 37)),
    }
    encode = lambda kernel: bert.encode(Model(positions=model.positions, kernel=kernel, **sizes), params, batch)
    ours = encode(use("band", interpret=True, block=8))
    np.testing.assert_allclose(ours, encode(use("xla")), atol=2e-5)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"platform": "gpu"}, "runs on TPU, not on gpu"),
        ({"window": 3}, "neither windows nor an order"),
        ({"ranks": True}, "neither windows nor an order"),
        ({"length": 2048}, "rows of up to 1024 tokens, not of 2048"),
    ],
)
def test_refusals(asked, why):
    with pytest.raises(ConfigError, match=f"config.model.kernel is 'band', which cannot do this: .*{why}"):
        choose(Model(kernel=use("band"), positions=CLIPPED), Request(**TPU | asked))


def test_it_is_for_relative_sinusoids():
    for positions, length in ((use("absolute"), 512), (CLIPPED, 65)):  # 65: no distance is clipped, wider heads do
        with pytest.raises(ConfigError, match="is for relative sinusoids"):
            choose(Model(kernel=use("band"), positions=positions), Request(**TPU | {"length": length}))
    assert choose(Model(positions=CLIPPED), Request(**TPU)).name == "band"
    assert choose(Model(positions=use("functional_relative")), Request(**TPU)).request.head_size == 64


def test_what_kernels_without_sinusoids_take_instead():
    for positions, length, training, name, form, size in (
        (CLIPPED, 512, True, "xla", "ByDistance", 64),
        (CLIPPED, 65, True, "xla", "SharedColumns", 64),
        (CLIPPED, 65, False, "chunked", "WideHeads", 128),
        (use("functional_relative"), 128, True, "xla", "SharedColumns", 64),
        (use("functional_relative"), 512, True, "chunked", "WideHeads", 128),
        (use("absolute"), 128, True, "xla", "Form", 64),
    ):
        model = Model(positions=positions, attention_dropout=0.1)
        chosen = choose(model, request_for(model, length, training))
        assert (chosen.name, type(chosen.form).__name__, chosen.request.head_size) == (name, form, size)


@pytest.mark.tpu_compile
@pytest.mark.parametrize("clipped", [True, False])
@pytest.mark.parametrize(
    ("length", "size", "dtype", "rate"),
    [(512, 64, "bfloat16", 0.1), (1000, 80, "bfloat16", 0.0), (1024, 128, "float32", 0.1)],
)
def test_compiles_for_tpu_without_moving_rows_or_heads(v5e_mesh, length, size, dtype, rate, clipped):
    mesh = v5e_mesh(data=8, tensor=2)
    place = lambda *axes: NamedSharding(mesh, PartitionSpec(("data", "fsdp"), *axes))
    heads = jax.ShapeDtypeStruct((16, length, 4, size), dtype, sharding=place(None, "tensor"))
    segments = jax.ShapeDtypeStruct((16, length), jnp.int32, sharding=place())
    how = {"scale": SCALE, "rate": rate, "key": jax.random.key(0)}
    attend = functools.partial(band.attend, addition=Sinusoids(64 if clipped else 0), **how)
    run = checks.values_and_gradients(lambda q, k, v, segments: attend(q, k, v, within(segments)))
    with jax.set_mesh(mesh):
        compiled = run.lower(heads, heads, heads, segments, heads).compile()
    assert "band_forward" in compiled.as_text()
    assert "band_backward" in compiled.as_text()
    assert not re.search("all-(gather|reduce|to-all)|collective-permute", compiled.as_text())
