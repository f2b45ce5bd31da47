"""Which kernel `auto` takes, and what it says of it."""

import jax
import pytest

from bert_jax.config import Mesh, Model
from bert_jax.modeling.choice import by_preference, choose, explain, platform, request_for
from bert_jax.modeling.kernels import Request
from bert_jax.runtime import sharding
from configuration.variants import ConfigError, names, use

UNCLIPPED, CLIPPED = use("functional_relative"), use("functional_relative", max_distance=64)
BASE = {"length": 512, "head_size": 64, "dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("platform", "positions", "asked", "kernel"),
    [
        ("cpu", "absolute", {}, "chunked"),
        ("cpu", "absolute", {"length": 256}, "xla"),
        ("cpu", "absolute", {"length": 64, "dtype": "float32"}, "chunked"),
        ("cpu", "absolute", {"length": 2047, "training": True, "dtype": "float32"}, "xla"),
        ("cpu", "absolute", {"length": 2048, "training": True}, "chunked"),
        ("cpu", "absolute", {"length": 511, "training": True, "dropout": True, "dtype": "float32"}, "xla"),
        ("cpu", "absolute", {"length": 512, "training": True, "dropout": True}, "chunked"),
        ("cpu", UNCLIPPED, {"ranks": True, "elsewhere": True}, "chunked"),
        ("cpu", CLIPPED, {}, "xla"),
        ("cpu", "absolute", {"window": 64}, "blocks"),
        ("cpu", "rotary", {"window": 64, "dropout": True, "elsewhere": True}, "blocks"),
        ("cpu", "absolute", {"window": 128}, "xla"),
        ("cpu", "absolute", {"window": 64, "ranks": True}, "xla"),
        ("cpu", CLIPPED, {"window": 64}, "xla"),
        ("cpu", CLIPPED, {"window": 64, "local": True}, "blocks"),
        ("gpu", "absolute", {"window": 64}, "cudnn"),
        ("gpu", "absolute", {"window": 64, "length": 2048}, "blocks"),
        ("tpu", "absolute", {}, "splash"),
        ("tpu", "absolute", {"window": 128}, "splash"),
        ("tpu", "absolute", {"ranks": True}, "xla"),
        ("tpu", "rotary", {}, "splash"),
        ("tpu", UNCLIPPED, {}, "band"),
        ("tpu", UNCLIPPED, {"window": 128}, "splash"),
        ("tpu", UNCLIPPED, {"length": 2048}, "splash"),
        ("gpu", UNCLIPPED, {}, "cudnn"),
        ("tpu", CLIPPED, {}, "band"),
        ("tpu", CLIPPED, {"length": 2048}, "xla"),
        ("tpu", "absolute", {"dropout": True}, "fused"),
        ("tpu", "rotary", {"dropout": True, "window": 128, "elsewhere": True}, "fused"),
        ("tpu", "absolute", {"dropout": True, "length": 2048}, "xla"),
        ("tpu", "absolute", {"dropout": True, "ranks": True}, "xla"),
        ("tpu", CLIPPED, {"dropout": True}, "band"),
        ("tpu", UNCLIPPED, {"dropout": True}, "band"),
        ("tpu", UNCLIPPED, {"dropout": True, "window": 128}, "fused"),
        ("gpu", "absolute", {}, "cudnn"),
        ("gpu", "absolute", {"ranks": True, "window": 5}, "cudnn"),
        ("gpu", "absolute", {"dtype": "float32"}, "xla"),
        ("gpu", CLIPPED, {}, "xla"),
        ("a platform of tomorrow", "absolute", {}, "xla"),
    ],
)
def test_auto(platform, positions, asked, kernel):
    window = {"window": asked["window"], "global_every": 3} if "local" in asked else {}
    model = Model(positions=use(positions) if isinstance(positions, str) else positions, **window)
    request = Request(platform=platform, **BASE | asked)
    assert choose(model, request).name == kernel
    where = " of local layers" if request.local else ""
    assert explain(model, request).startswith(f"attention kernel{where}: {kernel}, the fastest that can on {platform}")


def test_every_kernel_has_its_place():
    found = {name for platform in ("cpu", "gpu", "tpu") for name in by_preference(platform)}
    assert found == set(names("bert_jax.modeling.kernels"))


def test_the_log_says_why_not_a_faster_one():
    line = explain(Model(), Request(platform="tpu", dropout=True, **BASE | {"length": 2048}))
    assert line == (
        "attention kernel: xla, the fastest that can on tpu; not band: band takes rows of up to 1024 tokens, not of "
        "2048; not splash: splash has no dropout on the attention probabilities (config.model.attention_dropout=0 "
        "turns it off); not fused: fused takes rows of up to 1024 tokens, not of 2048"
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
        assert request_for(Model(), 128, training=True) == Request(
            platform=jax.default_backend(), length=128, head_size=64, dtype="float32", training=True, dropout=True
        )
    assert request_for(Model(attention_dropout=0.0), 128, training=True).dropout is False


@pytest.mark.tpu_compile
def test_a_slice_that_is_only_compiled_for_is_a_tpu(v5e_mesh):
    with jax.set_mesh(v5e_mesh()):
        assert choose(Model(), request_for(Model(), 512, training=False)).name == "splash"
