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

from bert_jax.config import Mesh, Model
from bert_jax.modeling.kernels import Request, choose, splash
from bert_jax.runtime import sharding
from configuration.variants import ConfigError, use

SCALE = 0.4
attend = functools.partial(splash.attend, scale=SCALE, interpret=True)


@pytest.mark.parametrize(("length", "value_size"), [(37, 5), (300, 11)])  # one block, and three of 128
def test_values_and_gradients(length, value_size):
    checks.equal_to_the_definition(attend, reference.inputs(0, length, value_size=value_size), SCALE)


def test_documents_do_not_see_each_other():
    checks.documents_do_not_see_each_other(attend, reference.inputs(1, 300))


def test_padding():
    checks.padding_is_finite_and_without_gradient(attend, reference.inputs(2, 150))


def test_queries_at_some_places_only():
    q, k, v, gradient, segments = reference.inputs(3)
    places = np.array([[3, 30, 11], [0, 36, 5]])
    at = lambda x: np.take_along_axis(x, places.reshape(2, 3, *[1] * (x.ndim - 2)), 1)
    out, pull = jax.vjp(lambda q, k, v: attend(at(q), k, v, segments, at(segments)), q, k, v)
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
        ({"relative": "sinusoid"}, "no relative vectors"),
    ],
)
def test_refusals(asked, why):
    request = Request(**{"platform": "tpu", "length": 512, "head_size": 64, "dtype": "bfloat16"} | asked)
    with pytest.raises(ConfigError, match=f"config.model.kernel is 'splash', which cannot do this: .*{why}"):
        choose(Model(kernel=use("splash")), request)


@pytest.mark.tpu_compile
@pytest.mark.parametrize("size", [64, 128])
def test_compiles_for_tpu_without_moving_rows_or_heads(v5e_mesh, size):
    mesh = v5e_mesh(data=8, tensor=2)
    place = lambda *axes: NamedSharding(mesh, PartitionSpec(("data", "fsdp"), *axes))
    heads = jax.ShapeDtypeStruct((16, 512, 4, size), jnp.bfloat16, sharding=place(None, "tensor"))
    segments = jax.ShapeDtypeStruct((16, 512), jnp.int32, sharding=place())
    run = checks.values_and_gradients(functools.partial(splash.attend, scale=SCALE))
    with jax.set_mesh(mesh):
        compiled = run.lower(heads, heads, heads, segments, heads).compile()
    assert "splash_mha" in compiled.as_text()
    assert not re.search("all-(gather|reduce|to-all)|collective-permute", compiled.as_text())
