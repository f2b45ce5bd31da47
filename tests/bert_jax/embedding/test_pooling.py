"""Vectors of hidden states against NumPy, and the states of every layer."""

import jax
import numpy as np
import pytest

from bert_jax.config import Model
from bert_jax.embedding import pooling
from bert_jax.modeling import bert
from configuration.variants import ConfigError, use

MODEL = Model(vocab_size=101, layers=4, width=12, heads=3, mlp_width=20, max_length=40, init_std=0.3)
SEGMENTS = np.array([[1] * 15 + [2] * 18 + [0] * 4, [1] * 3 + [2] * 2 + [3] * 30 + [0] * 2, [0] * 37], np.int32)

PLAIN = {
    "cls": lambda h: h[0],
    "last": lambda h: h[-1],
    "mean": lambda h: h.mean(0),
    "max": lambda h: h.max(0),
    "mean_sqrt": lambda h: h.sum(0) / np.sqrt(len(h)),
    "weighted_mean": lambda h: (h * np.arange(1, len(h) + 1)[:, None]).sum(0) / np.arange(1, len(h) + 1).sum(),
}


def make_batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    starts = np.array([[np.flatnonzero(row == number)[0] for number in row] for row in SEGMENTS])
    return {
        "tokens": np.where(SEGMENTS > 0, rng.integers(5, 101, SEGMENTS.shape), 0),
        "segments": SEGMENTS,
        "positions": np.arange(SEGMENTS.shape[1]) - starts,
        "token_types": np.zeros_like(SEGMENTS),
    }


def expected(hidden: np.ndarray, plain, documents: int) -> np.ndarray:
    """float64 [B, K, D]."""
    rows = zip(np.asarray(hidden, np.float64), SEGMENTS, strict=True)
    zeros = np.zeros(hidden.shape[-1])
    return np.array([[plain(h[s == k]) if (s == k).any() else zeros for k in range(1, documents + 1)] for h, s in rows])


@pytest.mark.parametrize("mode", PLAIN)
@pytest.mark.parametrize("documents", [1, 3, 5])
def test_each_mode_is_its_plain_form_on_every_document(mode: str, documents: int) -> None:
    hidden = np.random.default_rng(1).normal(size=(3, 37, 12)).astype(np.float32)
    found = pooling.pool(pooling.Pooling((mode,)), hidden, pooling.members_of(SEGMENTS, documents))
    np.testing.assert_allclose(found, expected(hidden, PLAIN[mode], documents), atol=1e-6)


@pytest.mark.parametrize("name", [*PLAIN, "cls+max", "first_last"])
def test_vectors_of_a_batch(name: str) -> None:
    params = bert.init(MODEL, jax.random.key(0))
    states = bert.encode(MODEL, params, make_batch(), every_layer=True)
    found = pooling.vectors(MODEL, pooling.make(name, MODEL), params, make_batch(), 3)
    if name == "first_last":
        wanted = expected((np.asarray(states[0]) + np.asarray(states[-1])) / 2, PLAIN["mean"], 3)
    else:
        wanted = np.concatenate([expected(states[-1], PLAIN[mode], 3) for mode in name.split("+")], -1)
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_layers_are_weighted() -> None:
    params = bert.init(MODEL, jax.random.key(0))
    states = np.asarray(bert.encode(MODEL, params, make_batch(), every_layer=True))
    found = pooling.vectors(MODEL, pooling.make("mean", MODEL, (0, 1, 0, 3)), params, make_batch(), 3)
    np.testing.assert_allclose(found, expected(0.25 * states[1] + 0.75 * states[3], PLAIN["mean"], 3), atol=2e-6)


@pytest.mark.parametrize(
    "changes",
    [{}, {"norm": "pre", "positions": use("rotary")}, {"sharing": "all", "groups": 2}, {"unroll": 2}],
    ids=["post", "pre", "shared", "unrolled"],
)
def test_every_layer_gives_what_an_encoder_of_so_many_layers_gives(changes: dict) -> None:
    import dataclasses

    model = dataclasses.replace(MODEL, **changes)
    params = bert.init(model, jax.random.key(0))
    states = bert.encode(model, params, make_batch(), every_layer=True)
    assert states.shape == (4, 3, 37, 12)
    np.testing.assert_allclose(states[-1], bert.encode(model, params, make_batch()), atol=1e-6)
    if model.sharing == "none" and model.norm == "post":
        for layers in (1, 2, 3):
            fewer = params | {"layers": jax.tree.map(lambda p, n=layers: p[:n], params["layers"])}
            shallow = dataclasses.replace(model, layers=layers, unroll=1)
            np.testing.assert_allclose(states[layers - 1], bert.encode(shallow, fewer, make_batch()), atol=1e-6)


def test_normalised_vectors_have_length_1_and_zeros_a_gradient() -> None:
    x = np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(pooling.normalise(x), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: pooling.normalise(x).sum())(x)).all()


def test_a_pooling_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match=r"pooling is 'meen'; there is no 'meen'; did you mean 'mean'"):
        pooling.make("meen", MODEL)
    with pytest.raises(ConfigError, match=r"one number for each of the 4 layers"):
        pooling.make("mean", MODEL, (1.0, 2.0))
