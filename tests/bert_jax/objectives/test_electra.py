"""ELECTRA's corruption, guesses and losses; `formats/test_electra_in_pytorch.py` compares them with PyTorch's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from test_mlm import MODEL, VOCABULARY, make_batch

from bert_jax.modeling import bert
from bert_jax.modeling.heads import discriminator_head
from bert_jax.objectives import _generator, electra
from bert_jax.runtime.trees import flatten
from configuration.variants import ConfigError, use

SIZE = {"generator_size": 1 / 3, "generator_layers": 1}
STILL = dataclasses.replace(MODEL, dropout=0.0, attention_dropout=0.0)
GENERATOR = _generator.generator_model(STILL, 1 / 3, 1)


def prepared(rows: int = 8, **options):
    """The objective, parameters, a batch with two documents a row, and the batch corrupted."""
    objective = electra.build(STILL, VOCABULARY, mask_rate=0.3, **SIZE, **options)
    params = bert.init(STILL, jax.random.key(0), electra.parts(STILL, **SIZE))
    batch = make_batch(np.random.default_rng(1), rows=rows, length=37)
    return objective, params, batch, jax.device_get(objective.corrupt(batch, jax.random.key(2)))


def guess(params, corrupted):
    return jax.device_get(jax.jit(lambda p, b: _generator.guess(GENERATOR, p, b, None).batch)(params, corrupted))


def test_what_the_generator_sees() -> None:
    """85% [MASK], 15% untouched, no random tokens."""
    batch = make_batch(np.random.default_rng(2), rows=4000, length=37)
    batch["tokens"] = np.where(batch["tokens"] > 4, 7, batch["tokens"])
    out = jax.device_get(jax.jit(electra.build(STILL, VOCABULARY).corrupt)(batch, jax.random.key(5)))
    shown = np.take_along_axis(out["tokens"], out["target_positions"], 1)[out["target_weights"] > 0]
    assert set(shown.tolist()) == {7, VOCABULARY.mask}
    assert abs((shown == VOCABULARY.mask).mean() - 0.85) < 3 * np.sqrt(0.85 * 0.15 / len(shown))


def test_guesses_stand_in_predicted_places_alone() -> None:
    _, params, batch, corrupted = prepared()
    guessed = guess(params, corrupted)
    predicted = np.zeros(batch["tokens"].shape, bool)
    np.put_along_axis(predicted, corrupted["target_positions"], corrupted["target_weights"] > 0, axis=1)
    np.testing.assert_array_equal(guessed["tokens"][~predicted], batch["tokens"][~predicted])
    np.testing.assert_array_equal(guessed["replaced"], guessed["tokens"] != batch["tokens"])
    assert guessed["replaced"].sum() > 0.9 * predicted.sum()  # the untouched ones are guessed too
    assert not (guessed["tokens"][predicted] == VOCABULARY.mask).mean() > 0.1


def test_guesses_are_drawn_from_the_softmax() -> None:
    logits = np.full((2, 3, 8), -1e30, np.float32)
    logits[..., :5] = np.log([0.4, 0.3, 0.2, 0.07, 0.03])
    number = 5000
    keys = _generator.row_keys(jax.random.key(0), 2 * number).reshape(number, 2, 2)
    drawn = np.asarray(jax.jit(jax.vmap(_generator.sample, (None, 0)))(jnp.asarray(logits), keys))
    for row in range(2):
        for place in range(3):
            shares = np.bincount(drawn[:, row, place], minlength=8) / number
            np.testing.assert_allclose(shares[:5], [0.4, 0.3, 0.2, 0.07, 0.03], atol=4 * np.sqrt(0.25 / number))
            assert not shares[5:].any()
    same = (drawn[:, 0] == drawn[:, 1]).mean()
    assert same == pytest.approx(0.4**2 + 0.3**2 + 0.2**2 + 0.07**2 + 0.03**2, abs=0.02)  # rows are independent


def test_guesses_among_several_blocks_are_drawn_from_the_softmax() -> None:
    """χ² over 200,000 draws from 389 pieces, some of which never occur."""
    rng = np.random.default_rng(5)
    size, number = 3 * _generator.BLOCK + 5, 200_000
    logits = np.where(rng.random(size) < 0.2, -1e30, 2 * rng.normal(size=size)).astype(np.float32)
    keys = _generator.row_keys(jax.random.key(8), 20)
    repeated = jnp.broadcast_to(logits, (20, number // 20, size))
    found = np.bincount(np.asarray(jax.jit(_generator.sample)(repeated, keys)).ravel(), minlength=size)
    expected = number * np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum()
    assert not found[expected == 0].any()
    often = expected >= 5
    rest = [(found[~often].sum(), expected[~often].sum())] if expected[~often].sum() > 5 else []
    found_all, expected_all = zip(*[*zip(found[often], expected[often], strict=True), *rest], strict=True)
    scale = sum(found_all) / sum(expected_all)
    assert stats.chisquare(found_all, np.array(expected_all) * scale).pvalue > 1e-3


def test_guesses_depend_on_key_and_row_alone() -> None:
    keys = _generator.row_keys(jax.random.key(3), 8)
    np.testing.assert_array_equal(_generator.row_keys(jax.random.key(3), 4), keys[:4])
    logits = jax.random.normal(jax.random.key(1), (8, 5, 101))
    whole = jax.jit(_generator.sample)(logits, keys)
    np.testing.assert_array_equal(jax.jit(_generator.sample)(logits[3::2], keys[3::2]), whole[3::2])


def test_loss_against_float64() -> None:
    objective, params, batch, corrupted = prepared()
    loss, metrics = jax.jit(objective.loss)(params, (), corrupted, None)
    guessed = guess(params, corrupted)
    hidden = jax.jit(lambda p, b: bert.encode(STILL, p, b))(params, guessed)
    logits = np.asarray(discriminator_head.logits(STILL, params, hidden), np.float64)
    real, replaced = batch["segments"] > 0, guessed["replaced"]  # [CLS] and [SEP] too
    assert replaced.any()
    wanted = np.where(replaced, np.log1p(np.exp(-logits)), np.log1p(np.exp(logits)))[real].mean()
    np.testing.assert_allclose(metrics["rtd_loss"], wanted, rtol=1e-5)
    np.testing.assert_allclose(loss, metrics["mlm_loss"] + 50 * wanted, rtol=1e-5)
    np.testing.assert_allclose(metrics["rtd_accuracy"], ((logits > 0) == replaced)[real].mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["replaced"], replaced[real].mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["detected"], (replaced & (logits > 0))[real].mean(), rtol=1e-6)


def test_the_predicted_tokens_alone_may_be_discriminated() -> None:
    _, _, _, corrupted = prepared(discriminated="predicted")
    weights = corrupted["discriminator_weights"]
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)
    at_places = np.take_along_axis(weights, corrupted["target_positions"], 1)
    np.testing.assert_allclose(at_places, corrupted["target_weights"], rtol=1e-6)


def test_the_discriminators_loss_does_not_reach_the_generators_own_weights() -> None:
    """Nor do they get any other gradient than that of a generator alone; the embeddings do."""
    gradients = {}
    for weight in (0.0, 50.0):
        objective, params, _, corrupted = prepared(discriminator_weight=weight)
        params = jax.tree.map(lambda x: x + 0.1, params)
        gradients[weight] = jax.jit(jax.grad(lambda p, o=objective, c=corrupted: o.loss(p, (), c, None)[0]))(params)
    both = {weight: flatten(gradients[weight]["generator"]) for weight in gradients}
    for name, alone in both[0.0].items():
        assert np.abs(alone).max() > 0, name
        np.testing.assert_allclose(both[50.0][name], alone, rtol=1e-5, atol=1e-7, err_msg=name)
    words = [np.asarray(g["embeddings"]["word"]["embedding"]) for g in gradients.values()]
    assert np.abs(words[0] - words[1]).max() > 1e-3

    objective, params, _, corrupted = prepared()
    rtd_loss = jax.jit(jax.grad(lambda p: objective.loss(p, (), corrupted, None)[1]["rtd_loss"]))(params)
    assert all(not np.asarray(g).any() for g in jax.tree.leaves(rtd_loss["generator"]))


def test_documents_of_a_row_do_not_see_each_other() -> None:
    """Neither of the two encoders: what the second document holds changes nothing in the first."""
    objective, params, _, corrupted = prepared()
    corrupted["segments"] = np.tile(np.repeat([1, 2], [20, 17]), (8, 1))
    other = corrupted | {"tokens": np.where(corrupted["segments"] == 2, 9, corrupted["tokens"])}
    first = {"discriminator_weights": (corrupted["segments"] == 1).astype(np.float32)}
    first["target_weights"] = (corrupted["target_positions"] < 20) * corrupted["target_weights"]
    loss = jax.jit(lambda batch: objective.loss(params, (), batch, None)[0])
    np.testing.assert_allclose(loss(corrupted | first), loss(other | first), rtol=1e-6)


def test_padding_gives_zero_and_stays_finite() -> None:
    batch = {name: np.zeros((2, 37), np.int32) for name in ("tokens", "segments", "positions", "token_types")}
    objective, params, _, _ = prepared()
    corrupted = objective.corrupt(batch, jax.random.key(2))
    loss, gradients = jax.jit(jax.value_and_grad(lambda p: objective.loss(p, (), corrupted, None)[0]))(params)
    assert loss == 0
    assert all(jnp.all(g == 0) for g in jax.tree.leaves(gradients))


def test_the_generators_sizes() -> None:
    base = dataclasses.replace(MODEL, width=768, heads=12, mlp_width=3072, layers=12)
    third = _generator.generator_model(base, 1 / 3, 0)
    assert (third.width, third.heads, third.mlp_width, third.layers) == (256, 4, 1024, 12)
    assert third.embedding_width == 768
    small = dataclasses.replace(base, width=256, heads=4, mlp_width=1024, embedding_width=128)
    assert _generator.generator_model(small, 0.5, 3).embedding_width == 0
    assert _generator.generator_model(small, 0.25, 3).embedding_width == 128
    assert "projection" not in electra.parts(small, generator_size=0.5)["generator"].axes()
    assert electra.parts(small)["generator"].axes()["projection"].keys() == {"kernel", "bias"}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"generator_size": 0.0}, "generator_size is 0.0; it must be a share"),
        ({"generator_size": 0.9}, r"generator_size=0.9 and generator_layers=0 .* config.model.heads"),
        ({"generator_layers": -1}, "generator_layers=-1"),
        ({"mask_rate": 0.0}, "mask_rate"),
        ({"replacement": use("mask", masked=0.85, random=0.3)}, "replacement"),
    ],
)
def test_options_out_of_range(options, named) -> None:
    with pytest.raises(ConfigError, match=named):
        electra.build(MODEL, VOCABULARY, **options)
