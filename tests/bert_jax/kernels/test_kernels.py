"""Which kernel `auto` takes, and what it says of it."""

import jax
import pytest

from bert_jax.config import Mesh, Model
from bert_jax.modeling.kernels import FASTEST_FIRST, Request, choose, explain, platform, request_for
from bert_jax.runtime import sharding
from configuration.variants import ConfigError, names, use

BASE = {"length": 512, "head_size": 64, "dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("platform", "asked", "kernel"),
    [
        ("cpu", {}, "xla"),
        ("tpu", {}, "splash"),
        ("tpu", {"head_size": 128, "unclipped": True}, "band"),  # functional_relative without clipping
        ("tpu", {"head_size": 128, "unclipped": True, "length": 2048}, "splash"),
        ("gpu", {"head_size": 128, "unclipped": True}, "cudnn"),
        ("tpu", {"relative": "sinusoid"}, "band"),
        ("tpu", {"relative": "table"}, "xla"),
        ("tpu", {"dropout": True}, "xla"),
        ("gpu", {}, "cudnn"),
        ("gpu", {"dtype": "float32"}, "xla"),
        ("gpu", {"relative": "sinusoid"}, "xla"),
        ("a platform of tomorrow", {}, "xla"),
    ],
)
def test_auto(platform, asked, kernel):
    request = Request(platform=platform, **BASE | asked)
    assert choose(Model(), request)[0] == kernel
    assert explain(Model(), request).startswith(f"attention kernel: {kernel}, the fastest that can on {platform}")


def test_every_kernel_has_its_place():
    assert {name for order in FASTEST_FIRST.values() for name in order} == set(names("bert_jax.modeling.kernels"))


def test_the_log_says_why_not_a_faster_one():
    line = explain(Model(), Request(platform="tpu", dropout=True, **BASE))
    assert line == (
        "attention kernel: xla, the fastest that can on tpu; not band: band is for relative sinusoids (positions "
        "functional_relative); not splash: splash has no dropout on the attention probabilities "
        "(config.model.attention_dropout=0 turns it off)"
    )
    named = explain(Model(kernel=use("xla")), Request(platform="tpu", **BASE))
    assert named == "attention kernel: xla, named in the configuration"


def test_a_named_kernel_that_cannot_is_an_error():
    with pytest.raises(ConfigError, match=r"config.model.kernel is 'splash', which cannot .*: splash runs on TPU"):
        explain(Model(kernel=use("splash")), Request(platform="cpu", **BASE))


def test_the_platform_is_that_of_the_mesh_in_use():
    assert platform() == jax.default_backend()
    with jax.set_mesh(sharding.make_mesh(Mesh())):
        assert platform() == jax.default_backend()
        assert request_for(Model(), 128, dropout=True) == Request(
            platform=jax.default_backend(), length=128, head_size=64, dtype="float32", dropout=True
        )
    assert request_for(Model(attention_dropout=0.0), 128, dropout=True).dropout is False


@pytest.mark.tpu_compile
def test_a_slice_that_is_only_compiled_for_is_a_tpu(v5e_mesh):
    with jax.set_mesh(v5e_mesh()):
        assert choose(Model(), request_for(Model(), 512, dropout=False))[0] == "splash"
