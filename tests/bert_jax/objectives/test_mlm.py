"""Masking by its counts and shares, the loss against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.config import Model
from bert_jax.modeling import bert, heads
from bert_jax.modeling.heads import mlm_head
from bert_jax.objectives import Vocabulary, mlm
from configuration.variants import ConfigError, use

V = 101
VOCABULARY = Vocabulary(size=V, pad=0, cls=2, sep=3, mask=4)
MODEL = Model(vocab_size=V, layers=2, width=24, heads=3, mlp_width=40, max_length=37)


def make_batch(rng: np.random.Generator, rows: int, length: int) -> dict[str, np.ndarray]:
    """Rows of [CLS] text [SEP] padding, of random lengths, the last row all padding."""
    text = rng.integers(1, length - 1, rows)
    place = np.arange(length)[None]
    tokens = rng.integers(5, V, (rows, length))
    tokens = np.where(place == 0, VOCABULARY.cls, tokens)
    tokens = np.where(place == text[:, None] + 1, VOCABULARY.sep, tokens)
    inside = (place <= text[:, None] + 1) & (np.arange(rows) < rows - 1)[:, None]
    return {
        "tokens": np.where(inside, tokens, VOCABULARY.pad).astype(np.uint16),
        "segments": inside.astype(np.int32),
        "positions": np.broadcast_to(place, (rows, length)).astype(np.int32),
        "token_types": np.zeros((rows, length), np.int32),
    }


@pytest.mark.parametrize("rate", [0.15, 0.4, 1.0, 0.01])
def test_each_row_predicts_the_rate_of_its_text_and_nothing_else(rate: float) -> None:
    batch = make_batch(np.random.default_rng(1), rows=50, length=37)
    objective = mlm.build(MODEL, VOCABULARY, mask_rate=rate)
    out = jax.device_get(jax.jit(objective.corrupt)(batch, jax.random.key(3)))
    text = (batch["segments"] > 0) & (batch["tokens"] > 4)
    slots = out["targets"].shape[1]
    for row in range(50):
        places = out["target_positions"][row][out["target_weights"][row] > 0]
        count = text[row].sum()
        assert len(places) == min(max(np.rint(np.float32(rate) * np.float32(count)), min(count, 1)), slots)
        assert len(set(places)) == len(places)
        assert text[row][places].all()
        np.testing.assert_array_equal(out["targets"][row], batch["tokens"][row][out["target_positions"][row]])
        untouched = np.setdiff1d(np.arange(37), places)
        np.testing.assert_array_equal(out["tokens"][row][untouched], batch["tokens"][row][untouched])


def drawn_words(batch: dict[str, np.ndarray], rate: float, key: int) -> tuple[np.ndarray, np.ndarray]:
    """Which words were drawn, and how many tokens they have, both [words]; after checking that they are whole."""
    corrupt = jax.jit(mlm.build(MODEL, VOCABULARY, mask_rate=rate, masking=use("whole_words")).corrupt)
    out = jax.device_get(corrupt(batch, jax.random.key(key)))
    tokens = batch["tokens"]
    text = (batch["segments"] > 0) & (tokens > 4)
    drawn, sizes = [], []
    for row in range(len(tokens)):
        places = out["target_positions"][row][out["target_weights"][row] > 0]
        assert len(set(out["target_positions"][row])) == out["target_positions"].shape[1]
        assert text[row][places].all()
        np.testing.assert_array_equal(out["targets"][row], tokens[row][out["target_positions"][row]])
        assert len(places) <= max(np.rint(np.float32(rate) * np.float32(text[row].sum())), text[row].any())
        number, words = -1, np.full(tokens.shape[1], -1)
        for i in np.flatnonzero(text[row]):
            number += batch["word_starts"][row, i] or not text[row, i - 1]
            words[i] = number
        chosen = np.isin(np.arange(tokens.shape[1]), places)
        for word in range(number + 1):
            assert chosen[words == word].all() or not chosen[words == word].any()
            drawn.append(chosen[words == word].any())
            sizes.append((words == word).sum())
    return np.array(drawn), np.array(sizes)


def words_batch(rng: np.random.Generator, rows: int, length: int, share: float) -> dict[str, np.ndarray]:
    batch = make_batch(rng, rows, length)
    return batch | {"word_starts": rng.random((rows, length)) < share}


@pytest.mark.parametrize(("rate", "share"), [(0.15, 0.7), (0.4, 0.5), (1.0, 0.3), (0.15, 0.0)])
def test_whole_words_are_predicted_whole(rate: float, share: float) -> None:
    batch = words_batch(np.random.default_rng(7), rows=60, length=37, share=share)
    drawn, _ = drawn_words(batch, rate, key=4)
    assert drawn.all() or rate < 1


def test_whole_words_are_drawn_at_the_rate_each_as_often() -> None:
    batch = words_batch(np.random.default_rng(8), rows=400, length=128, share=0.7)
    batch["tokens"][:, 1:-1] = 7  # full rows
    batch["tokens"][:, -1] = VOCABULARY.sep
    batch["segments"][:] = 1
    drawn, sizes = drawn_words(batch, 0.15, key=5)
    assert sizes[drawn].sum() / sizes.sum() == pytest.approx(19 / 126, rel=0.002)  # 0.15 of 126 tokens, rounded
    by_size = [drawn[sizes == size].mean() for size in (1, 2, 3)]
    # The last place of a row has no room for long words: these are the shares over ten times as many rows.
    assert by_size == pytest.approx([0.159, 0.149, 0.138], abs=0.01)


def test_eighty_ten_ten() -> None:
    batch = make_batch(np.random.default_rng(2), rows=4000, length=37)
    batch["tokens"] = np.where(batch["tokens"] > 4, 7, batch["tokens"])
    out = jax.device_get(jax.jit(mlm.build(MODEL, VOCABULARY, mask_rate=0.3).corrupt)(batch, jax.random.key(5)))
    shown = np.take_along_axis(out["tokens"], out["target_positions"], 1)[out["target_weights"] > 0]
    n = len(shown)
    three_sd = 3 * np.sqrt(0.8 * 0.2 / n)
    assert abs((shown == VOCABULARY.mask).mean() - (0.8 + 0.1 / V)) < three_sd
    assert abs((shown == 7).mean() - (0.1 + 0.1 / V)) < three_sd
    others = shown[(shown != VOCABULARY.mask) & (shown != 7)]
    assert len(np.unique(others)) == V - 2  # a random token is any of the vocabulary


def test_masks_depend_on_the_key() -> None:
    batch = make_batch(np.random.default_rng(2), rows=8, length=37)
    corrupt = jax.jit(mlm.build(MODEL, VOCABULARY).corrupt)
    first, again, other = (corrupt(batch, jax.random.key(k))["target_positions"] for k in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_loss_against_float64() -> None:
    """The gathered, padded computation gives what all logits of the true vocabulary would."""
    batch = make_batch(np.random.default_rng(4), rows=6, length=37)
    objective = mlm.build(MODEL, VOCABULARY, mask_rate=0.3)
    params = bert.init(MODEL, jax.random.key(0), heads.parts(MODEL, "mlm_head"))
    params["mlm_head"]["bias"] = jax.random.normal(jax.random.key(1), (MODEL.padded_vocab_size,))
    corrupted = jax.device_get(objective.corrupt(batch, jax.random.key(2)))
    loss, metrics = jax.jit(objective.loss)(params, (), corrupted, None)
    all_logits = jax.jit(lambda p, b: mlm_head.logits(MODEL, p, bert.encode(MODEL, p, b)))
    logits = np.asarray(all_logits(params, corrupted), np.float64)
    assert logits.shape == (6, 37, V)
    shifted = logits - logits.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    rows, slots = np.nonzero(corrupted["target_weights"])
    places, targets = corrupted["target_positions"][rows, slots], corrupted["targets"][rows, slots]
    np.testing.assert_allclose(corrupted["target_weights"][rows, slots], 1 / len(rows), rtol=1e-6)
    np.testing.assert_allclose(loss, -log_p[rows, places, targets].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], (logits[rows, places].argmax(-1) == targets).mean(), rtol=1e-6)


def test_rows_of_padding_give_zero_and_stay_finite() -> None:
    batch = {name: np.zeros((2, 37), np.int32) for name in ("tokens", "segments", "positions", "token_types")}
    objective = mlm.build(MODEL, VOCABULARY)
    params = bert.init(MODEL, jax.random.key(0), heads.parts(MODEL, "mlm_head"))
    corrupted = objective.corrupt(batch, jax.random.key(2))
    assert corrupted["target_weights"].sum() == 0
    loss, gradients = jax.jit(jax.value_and_grad(lambda p: objective.loss(p, (), corrupted, None)[0]))(params)
    assert loss == 0
    assert all(jnp.all(g == 0) for g in jax.tree.leaves(gradients))


TOO_MUCH = use("mask", masked=0.8, random=0.3)


@pytest.mark.parametrize("options", [{"mask_rate": 0.0}, {"mask_rate": 1.1}, {"replacement": TOO_MUCH}])
def test_shares_out_of_range(options: dict) -> None:
    with pytest.raises(ConfigError, match=r"config.objective\."):
        mlm.build(MODEL, VOCABULARY, **options)
