"""Masking rates that change over a run: exact budgets at each step, one shape, and exact resumption."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from test_masking_statistics import words_batch
from test_mlm import MODEL, VOCABULARY

from bert_jax.objectives import Moment, mlm
from bert_jax.objectives.rates import rate_of
from configuration.variants import ConfigError, load, use

RATES = {
    "linear": (use("linear", first=0.4, last=0.1), lambda t: 0.4 - 0.3 * t),
    "cosine": (use("cosine", first=0.1, last=0.5), lambda t: 0.5 - 0.2 * (1 + np.cos(np.pi * t))),
    "steps": (use("steps", rates=(0.3, 0.2, 0.15)), lambda t: np.select([t < 1 / 3, t < 2 / 3], [0.3, 0.2], 0.15)),
}
STEPS = 101


def at(step: int) -> Moment:
    return Moment(jnp.int32(step), STEPS, jnp.int32(step), jax.random.key(0))


def predicted(out) -> np.ndarray:
    return (np.asarray(out["target_weights"]) > 0).sum(1)


@pytest.mark.parametrize("name", RATES)
def test_the_rate_is_that_of_the_formula(name):
    variant, formula = RATES[name]
    share = np.linspace(0, 1, 401)
    rate = rate_of(variant)
    found = np.array([float(rate.at(jnp.float32(t))) for t in share])
    np.testing.assert_allclose(found, formula(share), rtol=1e-5)
    assert rate.highest == pytest.approx(found.max(), rel=1e-6)


@pytest.mark.parametrize("objective", ["mlm", "mlm_static", "span_boundary", "electra", "mlm_pair"])
def test_the_budget_of_each_row_is_exact_at_each_step(objective):
    variant, formula = RATES["linear"]
    built = load("bert_jax.objectives", use(objective, masking="tokens", mask_rate=variant))(MODEL, VOCABULARY)
    corrupt = jax.jit(
        lambda batch, step: built.corrupt(batch | {"moment": at(0)._replace(step=step)}, jax.random.key(1))
    )
    batch = words_batch(200, 64, most=2)
    text = ((batch["segments"] > 0) & (batch["tokens"] > 4)).sum(1)
    for step in (0, 1, 37, STEPS - 1):
        out = corrupt(batch, step)
        wanted = np.rint(np.float32(formula(step / (STEPS - 1))) * text.astype(np.float32))
        np.testing.assert_array_equal(predicted(out), wanted)
        assert out["target_positions"].shape == (200, round(0.4 * 64))
    assert corrupt._cache_size() == 1


@pytest.mark.parametrize("masking", ["whole_words", "ngrams", "spans"])
def test_units_keep_to_the_budget_of_the_step(masking):
    built = mlm.build(MODEL, VOCABULARY, mask_rate=RATES["linear"][0], masking=use(masking))
    batch = words_batch(300, 64, most=3)
    text = ((batch["segments"] > 0) & (batch["tokens"] > 4)).sum(1)
    for step, rate in ((0, 0.4), (50, 0.25), (100, 0.1)):
        found = predicted(built.corrupt(batch | {"moment": at(step)}, jax.random.key(2)))
        wanted = np.rint(np.float32(rate) * text)
        assert (found <= wanted).all()
        assert found.sum() > 0.97 * wanted.sum()


def test_no_place_is_preferred_while_the_rate_falls():
    built = mlm.build(MODEL, VOCABULARY, mask_rate=RATES["linear"][0])
    batch = words_batch(20_000, 40, most=1, documents=1)
    out = jax.jit(lambda batch: built.corrupt(batch | {"moment": at(60)}, jax.random.key(3)))(batch)
    used = np.asarray(out["target_weights"]) > 0
    counts = np.bincount(np.asarray(out["target_positions"])[used], minlength=40)
    text = (batch["segments"][0] > 0) & (batch["tokens"][0] > 4)
    assert counts[~text].sum() == 0
    # Draws without repetition vary less than a multinomial does, so the test is all the stricter.
    assert scipy.stats.chisquare(counts[text]).pvalue > 1e-4


def test_evaluation_has_the_last_rate():
    built = mlm.build(MODEL, VOCABULARY, mask_rate=RATES["linear"][0])
    batch = words_batch(20, 64, most=1)
    without = predicted(built.corrupt(batch, jax.random.key(0)))
    np.testing.assert_array_equal(without, predicted(built.corrupt(batch | {"moment": at(100)}, jax.random.key(0))))


def test_a_number_is_the_schedule_that_stays():
    batch = words_batch(50, 64, most=2)
    plain, same = (
        mlm.build(MODEL, VOCABULARY, mask_rate=rate).corrupt(batch | {"moment": at(7)}, jax.random.key(0))
        for rate in (0.15, use("linear", first=0.15, last=0.15))
    )
    for name in ("tokens", "target_positions", "target_weights"):
        np.testing.assert_array_equal(plain[name], same[name])


@pytest.mark.parametrize(
    ("rate", "error"),
    [
        (1.5, "config.objective.mask_rate is 1.5"),
        (use("linear", first=0.0), "config.objective.mask_rate.first is 0.0"),
        (use("cosine", last=2.0), "config.objective.mask_rate.last is 2.0"),
        (use("steps", rates=()), r"mask_rate.rates is \(\)"),
        (use("steps", rates=(0.3, -1.0)), "config.objective.mask_rate.rates.1 is -1.0"),
        (use("cubic"), "no variant 'cubic'"),
    ],
    ids=str,
)
def test_rates_that_make_no_sense(rate, error):
    with pytest.raises(ConfigError, match=error):
        mlm.build(MODEL, VOCABULARY, mask_rate=rate)
