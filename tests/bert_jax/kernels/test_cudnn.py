"""The cuDNN kernel: what it refuses, what it asks of JAX, and on a GPU the values and gradients themselves."""

import functools

import attention_reference as reference
import jax
import jax.numpy as jnp
import kernel_checks as checks
import numpy as np
import pytest

from bert_jax.config import Model
from bert_jax.modeling.choice import choose
from bert_jax.modeling.kernels import Request, cudnn
from bert_jax.modeling.visibility import within
from configuration.variants import ConfigError, use

GPU = {"platform": "gpu", "length": 512, "head_size": 64, "dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"platform": "tpu"}, "runs on NVIDIA GPUs, not on tpu"),
        ({"dtype": "float32"}, "16-bit floats, not in float32"),
        ({"dropout": True}, "no dropout"),
        ({"head_size": 60}, "heads of a multiple of 8 up to 128, not of 60"),
        ({"head_size": 256}, "heads of a multiple of 8 up to 128, not of 256"),
        ({"length": 37}, "an even length, not of 37"),
    ],
)
def test_refusals(asked, why):
    with pytest.raises(ConfigError, match=f"config.model.kernel is 'cudnn', which cannot do this: .*{why}"):
        choose(Model(kernel=use("cudnn")), Request(**GPU | asked))


def test_what_the_encoder_must_not_ask():
    assert "no vectors by distance" in (cudnn.unsupported(Request(**GPU, needs="vectors")) or "")


def test_takes_bert_base():
    assert choose(Model(kernel=use("cudnn")), Request(**GPU))[0] == "cudnn"


@jax.default_matmul_precision("highest")  # a GPU multiplies float32 as TF32 by default
def test_mask_and_scale_mean_what_jax_takes_them_for(monkeypatch):
    """JAX's own XLA implementation in cuDNN's place, on any device."""
    plain = jax.nn.dot_product_attention
    asked = []

    def stand_in(*args, implementation, **how):
        asked.append(implementation)
        return plain(*args, implementation="xla", **how)

    monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in)
    attend = lambda q, k, v, segments: cudnn.attend(q, k, v, within(segments), scale=0.4)
    checks.equal_to_the_definition(attend, reference.inputs(0), 0.4)
    checks.documents_do_not_see_each_other(attend, reference.inputs(1))
    checks.padding_is_finite_and_without_gradient(attend, reference.inputs(2))
    for kind in checks.KINDS:
        checks.only_what_is_visible_counts(functools.partial(cudnn.attend, scale=0.4), kind, reference.inputs(3), 0.4)
    assert set(asked) == {"cudnn"}


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="no GPU")
def test_on_a_gpu():
    segments = reference.inputs(0, 150)[4]
    halved = lambda x: np.asarray(jnp.asarray(x, jnp.bfloat16), np.float32)
    arrays = lambda seed: [halved(x) for x in reference.inputs(seed, 150, size=64)[:4]]
    bits = lambda *xs: [jnp.asarray(x, jnp.bfloat16) for x in xs]
    seen = lambda q, k, v, segments: cudnn.attend(*bits(q, k, v), within(segments), scale=0.125)
    attend = lambda *of: seen(*of).astype(jnp.float32)
    exact = arrays(0)[:3]
    reference.close(attend(*exact, segments), reference.attend(*exact, segments, 0.125), 1e-2)  # bfloat16 has 8 bits
    checks.documents_do_not_see_each_other(attend, [*arrays(1), segments])
    checks.padding_is_finite_and_without_gradient(attend, [*arrays(2), segments])
