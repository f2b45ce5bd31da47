"""`encoder.embed`: packed texts are as if alone, in the order given."""

import jax
import numpy as np
import pytest
from encoders import make_encoder, make_texts

from bert_jax.embedding.pooling import normalise
from bert_jax.encoder import Encoder
from bert_jax.modeling import bert
from configuration.variants import ConfigError, use

TEXTS = [*make_texts(40), "", "the " * 200]


def alone(encoder: Encoder, text: str, pooling: str) -> np.ndarray:
    """One text in a row of its own."""
    row = encoder.tokenize(text)
    hidden = np.asarray(encoder(**row)["hidden"][0])
    return {"cls": hidden[0], "mean": hidden.mean(0), "max": hidden.max(0)}[pooling]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return make_encoder()


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_packed_texts_are_as_if_alone(encoder: Encoder, pooling: str) -> None:
    found = encoder.embed(TEXTS, pooling, normalise=False, batch_size=2)
    assert found.dtype == np.float32
    for vector, text in zip(found, TEXTS, strict=True):
        np.testing.assert_allclose(vector, alone(encoder, text, pooling), atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"isolate_documents": False},
        {"norm": "pre", "positions": use("rotary")},
        {"positions": use("functional_relative")},
    ],
    ids=["not isolated", "modern", "nezha"],
)
def test_whatever_the_encoder(changes: dict) -> None:
    encoder = make_encoder(**changes)
    found = encoder.embed(TEXTS[:8], normalise=False)
    np.testing.assert_allclose(found, [alone(encoder, text, "mean") for text in TEXTS[:8]], atol=1e-5)


def test_vectors_have_length_1_unless_that_is_not_wanted(encoder: Encoder) -> None:
    plain = encoder.embed(TEXTS, normalise=False)
    np.testing.assert_allclose(encoder.embed(TEXTS), normalise(plain), atol=1e-6)
    first = encoder.embed(TEXTS, dimensions=5)
    np.testing.assert_allclose(first, normalise(plain[:, :5]), atol=1e-6)
    assert encoder.embed(TEXTS, "cls+mean").shape == (len(TEXTS), 24)


def test_one_text_and_none(encoder: Encoder) -> None:
    assert encoder.embed("the mill").shape == (1, 12)
    assert encoder.embed([]).shape == (0, 12)


def test_bfloat16_is_near(encoder: Encoder) -> None:
    exact, near = encoder.embed(TEXTS), encoder.embed(TEXTS, dtype="bfloat16")
    assert near.dtype == np.float32
    assert 0 < np.abs(exact - near).max() < 0.05


def test_progress_counts_every_text(encoder: Encoder) -> None:
    seen: list[int] = []
    encoder.embed(TEXTS, batch_size=1, done=seen.append)
    assert sum(seen) == len(TEXTS)
    assert len(seen) > 1


def test_what_cannot_be(encoder: Encoder) -> None:
    with pytest.raises(ConfigError, match="dimensions is 13; it must be between 1 and the vectors' 12"):
        encoder.embed(TEXTS, dimensions=13)
    with pytest.raises(ValueError, match="no tokenizer"):
        Encoder(encoder.config, bert.init(encoder.config, jax.random.key(0))).embed(TEXTS)
