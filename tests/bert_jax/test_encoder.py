"""The library's face."""

import dataclasses

import jax
import numpy as np
import pytest

import bert_jax
from bert_jax.config import Model
from bert_jax.encoder import Encoder, positions
from bert_jax.modeling import bert, heads
from bert_jax.modeling.heads import mlm_head, pooler
from configuration.foreign import FormatError
from configuration.variants import use

MODEL = Model(vocab_size=101, layers=2, width=12, heads=3, mlp_width=20, max_length=40, init_std=0.3)


@pytest.fixture(scope="module")
def params():
    return bert.init(MODEL, jax.random.key(0), heads.parts(MODEL, "mlm_head", "pooler"))


def rows(length=37):
    rng = np.random.default_rng(0)
    return rng.integers(0, 101, (2, length)), rng.integers(0, 2, (2, length))


def test_it_gives_what_the_model_functions_give(params):
    tokens, types = rows()
    out = Encoder(MODEL, params)(tokens, token_types=types)
    index = np.broadcast_to(np.arange(37), tokens.shape)
    batch = {"tokens": tokens, "segments": np.ones_like(tokens), "positions": index, "token_types": types}
    hidden = bert.encode(MODEL, params, batch)
    np.testing.assert_allclose(out["hidden"], hidden, atol=1e-5)
    np.testing.assert_allclose(out["pooled"], pooler.pool(MODEL, params, hidden), atol=1e-5)
    np.testing.assert_allclose(out["logits"], mlm_head.logits(MODEL, params, hidden), atol=1e-5)
    assert out["logits"].shape == (2, 37, 101)


def test_documents_of_one_row_are_encoded_as_if_alone(params):
    tokens, types = rows()
    segments = np.repeat([[1, 2, 0]], [15, 18, 4], axis=1).repeat(2, axis=0)
    encoder = Encoder(MODEL, params)
    together = encoder(tokens, segments, types)["hidden"]
    alone = encoder(tokens[:, 15:33], token_types=types[:, 15:33])["hidden"]
    np.testing.assert_allclose(together[:, 15:33], alone, atol=1e-5)


def test_positions_restart_in_each_document_only_if_they_are_isolated():
    segments = np.array([[1, 1, 1, 2, 2, 3, 0, 0]])
    np.testing.assert_array_equal(positions(segments, True), [[0, 1, 2, 0, 1, 0, 0, 1]])
    np.testing.assert_array_equal(positions(segments, False), [np.arange(8)])


def test_without_heads_there_is_none(params):
    bare = {name: params[name] for name in ("embeddings", "layers")}
    out = Encoder(MODEL, bare)(rows()[0])
    assert out["pooled"] is None
    assert out["logits"] is None
    assert out["hidden"].shape == (2, 37, 12)


def test_the_kernel_of_the_training_run_does_not_matter(params):
    encoder = Encoder(dataclasses.replace(MODEL, kernel=use("xla"), remat="full"), params)
    assert encoder.config == MODEL


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": np.zeros((2, 41), int)}, "rows of 41 tokens are longer than the 40 positions"),
        ({"tokens": np.full((2, 5), 101)}, "tokens has numbers from 101 to 101; they must be between 0 and 100"),
        ({"tokens": np.zeros((2, 5))}, r"tokens is float64 \[2, 5\]; it must be a non-empty integer array \[B, L\]"),
        ({"tokens": np.zeros(5, int)}, r"tokens is int64 \[5\]"),
        ({"tokens": np.zeros((2, 5), int), "segments": np.ones((2, 4), int)}, r"segments has shape \[2, 4\]"),
        ({"tokens": np.zeros((2, 5), int), "token_types": np.full((2, 5), 2)}, "token_types has numbers from 2 to 2"),
    ],
)
def test_input_it_does_not_take_is_one_clear_line(params, arguments, message):
    with pytest.raises(ValueError, match=message):
        Encoder(MODEL, params)(**arguments)


def test_relative_positions_take_rows_of_any_length():
    model = dataclasses.replace(MODEL, positions=use("functional_relative"))
    assert Encoder(model, bert.init(model, jax.random.key(0), heads.parts(model, "mlm_head", "pooler")))(
        np.zeros((1, 50), int)
    )["hidden"].shape == (1, 50, 12)


def test_a_folder_without_an_encoder_says_what_was_looked_for(tmp_path):
    with pytest.raises(FormatError, match=r"neither checkpoints/ .* nor params.safetensors"):
        bert_jax.load(tmp_path)
    with pytest.raises(FormatError, match="missing is no folder"):
        bert_jax.load(tmp_path / "missing")
