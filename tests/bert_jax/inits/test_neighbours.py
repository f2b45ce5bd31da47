"""Each head of a fresh model looks where it was told to, whatever the tokens are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.config import Model
from bert_jax.modeling import bert, heads
from bert_jax.modeling.attention import Attention, project
from bert_jax.modeling.kernels import xla
from bert_jax.modeling.layers import bind
from bert_jax.modeling.visibility import within
from configuration.variants import ConfigError, use

OFFSETS = (-1, 1, -3)
SIZES = {"vocab_size": 101, "layers": 2, "width": 96, "heads": 3, "mlp_width": 48, "max_length": 37}


@pytest.mark.parametrize(
    ("positions", "local"),
    [
        (use("absolute"), False),
        (use("functional_relative", max_distance=64), False),
        (use("rotary", local_base=50.0), True),
        *(pytest.param(use(name), False, marks=pytest.mark.slow) for name in ("functional_relative", "rotary")),
    ],
)
def test_heads_look_at_their_offsets(positions, local) -> None:
    kinds = {"window": 5, "global_every": 2} if local else {}
    model = Model(positions=positions, init=use("neighbours", offsets=OFFSETS, columns=32), **SIZES, **kinds)
    params = jax.jit(lambda key: bert.init(model, key, heads.parts(model, "mlm_head")))(jax.random.key(1))
    rng = np.random.default_rng(0)
    batch = {
        "tokens": rng.integers(0, 101, (2, 37)),
        "segments": np.ones((2, 37), np.int32),
        "positions": np.tile(np.arange(37), (2, 1)),
        "token_types": np.zeros((2, 37), np.int32),
    }
    embeddings = bind(bert.Embeddings, model, params["embeddings"])
    layer = jax.tree.map(lambda x: x[int(local)], params["layers"]["attention"])
    attention = bind(Attention, model, {name: layer[name] for name in ("query", "key", "value", "output")})
    form = embeddings.scheme.forms(37, local)[-1]  # the one that any kernel takes
    tables = form.tables(jnp.asarray(batch["positions"]), embeddings.position)
    q, k, _ = project((attention.query, attention.key, attention.value), embeddings(batch))
    here = jnp.broadcast_to(jnp.eye(37)[None, :, None], (2, 37, 3, 37))  # values that tell the place
    q, k, _ = form.transform_qkv(q, k, jnp.zeros_like(q), tables, None)
    looked = xla.attend(q, k, here, within(batch["segments"], 5 if local else None), scale=attention.scale)
    for head, offset in enumerate(OFFSETS):
        inside = np.arange(4, 37 - 4)
        near = np.arange(-4, 5)
        by_distance = looked[:, inside[:, None], head, inside[:, None] + near].mean((0, 1))
        assert near[by_distance.argmax()] == offset
        assert by_distance.max() > 1.2 * np.sort(by_distance)[-2]


def test_columns_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"config.model.init.columns is 96; it must be even, and below .*width=96"):
        bert.abstract_params(Model(init=use("neighbours", columns=96), **SIZES))
