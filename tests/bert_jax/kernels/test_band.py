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
from bert_jax.modeling.kernels import Relative, Request, band, choose, request_for, xla
from bert_jax.runtime import sharding
from configuration.variants import ConfigError, use

SCALE, SIZE = 0.4, 6
TPU = {"platform": "tpu", "length": 512, "head_size": 64, "dtype": "bfloat16", "relative": "sinusoid"}


def relative(distance, size=SIZE):
    return Relative(jnp.asarray(reference.table(distance, size), jnp.float32), True)


def kernel(distance, block=8):
    return functools.partial(band.attend, scale=SCALE, relative=relative(distance), interpret=True, block=block)


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
    whole = Relative(jnp.asarray(rows, jnp.float32), True, clipped=False)
    attend = functools.partial(band.attend, scale=SCALE, relative=whole, interpret=True, block=block)
    checks.equal_to_the_definition(attend, reference.inputs(6, size=SIZE), SCALE, rows)


@pytest.mark.slow
def test_longer_rows_in_blocks_of_a_tpu():
    arrays, rows = reference.inputs(1, 430, size=10), reference.table(64, 10)
    attend = functools.partial(band.attend, scale=SCALE, relative=relative(64, 10), interpret=True)
    checks.equal_to_the_definition(attend, arrays, SCALE, rows)


def test_documents_do_not_see_each_other():
    checks.documents_do_not_see_each_other(kernel(4), reference.inputs(2, size=SIZE))


def test_padding():
    checks.padding_is_finite_and_without_gradient(kernel(4), reference.inputs(3, size=SIZE))


def test_half_precision_is_as_good_as_the_reference_kernel():
    """Both round to bfloat16; neither may be much further from float64 than the other."""
    q, k, v, gradient, segments = reference.inputs(4, size=SIZE)
    q, k, v, gradient = (jnp.asarray(x, jnp.bfloat16) for x in (q, k, v, gradient))
    plain = functools.partial(xla.attend, scale=SCALE, relative=relative(4))
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
        ({"dropout": True}, "no dropout"),
        ({"relative": None}, "is for relative sinusoids"),
        ({"relative": "table"}, "is for relative sinusoids"),
        ({"length": 2048}, "rows of up to 1024 tokens, not of 2048"),
    ],
)
def test_refusals(asked, why):
    with pytest.raises(ConfigError, match=f"config.model.kernel is 'band', which cannot do this: .*{why}"):
        choose(Model(kernel=use("band")), Request(**TPU | asked))


def test_what_the_clipped_scheme_asks_for():
    model = Model(positions=use("functional_relative", max_distance=64))
    assert request_for(model, 512, dropout=False).relative == "sinusoid"
    assert request_for(model, 65, dropout=False).relative is None  # no distance is clipped: wider heads do
    assert not request_for(model, 65, dropout=False).unclipped


def test_what_the_unclipped_scheme_asks_for():
    request = request_for(Model(positions=use("functional_relative")), 512, dropout=False)
    assert (request.relative, request.unclipped, request.head_size) == (None, True, 128)
    assert not request_for(Model(), 512, dropout=False).unclipped


@pytest.mark.tpu_compile
@pytest.mark.parametrize("clipped", [True, False])
@pytest.mark.parametrize(
    ("length", "size", "dtype"), [(512, 64, "bfloat16"), (1000, 80, "bfloat16"), (1024, 128, "float32")]
)
def test_compiles_for_tpu_without_moving_rows_or_heads(v5e_mesh, length, size, dtype, clipped):
    mesh = v5e_mesh(data=8, tensor=2)
    place = lambda *axes: NamedSharding(mesh, PartitionSpec(("data", "fsdp"), *axes))
    heads = jax.ShapeDtypeStruct((16, length, 4, size), dtype, sharding=place(None, "tensor"))
    segments = jax.ShapeDtypeStruct((16, length), jnp.int32, sharding=place())
    vectors = relative(64, size) if clipped else Relative(jnp.zeros((2 * length - 1, size)), True, clipped=False)
    run = checks.values_and_gradients(functools.partial(band.attend, scale=SCALE, relative=vectors))
    with jax.set_mesh(mesh):
        compiled = run.lower(heads, heads, heads, segments, heads).compile()
    assert "band_forward" in compiled.as_text()
    assert "band_backward" in compiled.as_text()
    assert not re.search("all-(gather|reduce|to-all)|collective-permute", compiled.as_text())
