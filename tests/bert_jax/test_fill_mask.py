"""Filling in masks."""

import jax
import numpy as np
import pytest

from bert_jax import fill_mask as command
from bert_jax.config import Model
from bert_jax.encoder import Encoder
from bert_jax.fill_mask import fill_mask
from bert_jax.modeling import bert, heads
from configuration.foreign import FormatError
from data_pipeline.tokenizers import sentencepiece

WORDS = "the river bends and the old mill turns its wheel as the water runs down to the sea"


@pytest.fixture(scope="module")
def encoder():
    tokenizer = sentencepiece.build(lambda: {word: 1 + i for i, word in enumerate(WORDS.split())}, vocab_size=30)
    model = Model(
        vocab_size=tokenizer.vocab_size, layers=1, width=12, heads=3, mlp_width=20, max_length=40, init_std=0.5
    )
    return Encoder(model, bert.init(model, jax.random.key(0), heads.parts(model, "mlm_head")), tokenizer)


def test_the_predictions_are_the_largest_of_a_softmax_at_each_mask(encoder):
    text = "the [MASK] mill turns [MASK]"
    masks = fill_mask(encoder, text, top=3)
    t = encoder.tokenizer
    ids = [t.cls_id, *t.encode(text), t.sep_id]
    logits = np.asarray(encoder(np.array([ids]))["logits"][0], np.float64)
    places = [i for i, token in enumerate(ids) if token == t.mask_id]
    assert len(masks) == len(places) == 2
    for predictions, place in zip(masks, places, strict=True):
        probabilities = np.exp(logits[place]) / np.exp(logits[place]).sum()
        order = np.argsort(-probabilities)[:3]
        assert [p["id"] for p in predictions] == order.tolist()
        assert [p["token"] for p in predictions] == t.pieces(order)
        np.testing.assert_allclose([p["probability"] for p in predictions], probabilities[order], rtol=1e-4)


def test_a_text_that_fills_the_row_is_not_too_long_but_one_more_token_is(encoder):
    whole = "[MASK]" * 38
    assert len(fill_mask(encoder, whole)) == 38
    with pytest.raises(FormatError, match="has 41 tokens; the encoder was trained on rows of 40"):
        fill_mask(encoder, whole + "[MASK]")


def test_what_is_missing_is_one_clear_line(encoder):
    with pytest.raises(FormatError, match=r"has no \[MASK\] to fill in"):
        fill_mask(encoder, "the old mill")
    with pytest.raises(FormatError, match="no tokenizer"):
        fill_mask(Encoder(encoder.config, encoder.params), "[MASK]")
    bare = {name: encoder.params[name] for name in ("embeddings", "layers")}
    with pytest.raises(FormatError, match="no masked-language-model head"):
        fill_mask(Encoder(encoder.config, bare, encoder.tokenizer), "[MASK]")


def test_the_bars_are_as_long_as_the_probabilities():
    masks = [[{"token": "a", "id": 5, "probability": 0.5}, {"token": "bcd", "id": 6, "probability": 0.1}]]
    lines = command.readable("x [MASK]", masks).split("\n")
    assert lines == ["x [MASK]", f"  a     50.0%  {'█' * 15}", f"  bcd   10.0%  {'█' * 3}"]


def test_tokenize_gives_the_batch_that_the_encoder_takes(encoder):
    """Padding changes nothing, whether segments say where it is or the padding id does."""
    texts = ["a b", "b a b a a", "a"]
    batch = encoder.tokenize(texts)
    assert {name: (x.dtype, x.ndim) for name, x in batch.items()} == dict.fromkeys(
        ("tokens", "segments", "token_types"), (np.int32, 2)
    )
    together, without = encoder(**batch), encoder(batch["tokens"])
    for i, text in enumerate(texts):
        alone = encoder.tokenize(text)
        length = alone["tokens"].shape[1]
        for out in (together, without):
            np.testing.assert_allclose(out["hidden"][i, :length], encoder(**alone)["hidden"][0], atol=1e-5)
    with pytest.raises(ValueError, match="texts is empty"):
        encoder.tokenize([])
