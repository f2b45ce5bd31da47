"""Schedules against their closed formulas in NumPy float64, their ends, and their errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configuration.variants import ConfigError, Variant, load, names

PACKAGE = "bert_jax.training.schedules"
STEPS, PEAK = 137, 3e-3
T = np.arange(STEPS + 1, dtype=np.float64)


def ramp(w, after, first=0):
    t = T + first
    return PEAK * np.where(t < w, t / w, after(t))


def fell(w):
    return (T - w) / (STEPS - w)


with np.errstate(invalid="ignore"):
    CASES = {
        # name, options: the rate at T
        ("linear", (("warmup", 20),)): ramp(20, lambda t: (STEPS - t) / (STEPS - 20)),
        ("linear", (("warmup", 0.1),)): ramp(13.7, lambda t: (STEPS - t) / (STEPS - 13.7)),
        ("linear", (("warmup", 20), ("end", 0.02))): ramp(20, lambda t: 1 - 0.98 * fell(20)),
        # Google's BERT: polynomial_decay over all steps, replaced by the ramp while step < warmup
        ("linear", (("warmup", 20), ("jump", True))): ramp(20, lambda t: 1 - t / STEPS),
        # NEZHA: the peak raised by peak / (peak (1 - w/T)), decaying over all steps
        ("polynomial", (("warmup", 20),)): ramp(20, lambda t: 1 / (1 - 20 / STEPS) * (1 - t / STEPS)),
        # NVIDIA: progress counts from 1, square root of what is left of all steps
        ("polynomial", (("warmup", 0.2843), ("power", 0.5), ("jump", True), ("first", 1))): ramp(
            0.2843 * STEPS, lambda t: np.sqrt(np.maximum(1 - t / STEPS, 0)), first=1
        ),
        ("polynomial", (("warmup", 20), ("power", 2.0), ("end", 0.1))): ramp(
            20, lambda t: 0.1 + 0.9 * (1 - fell(20)) ** 2
        ),
        ("cosine", (("warmup", 20), ("end", 0.1))): ramp(20, lambda t: 0.55 + 0.45 * np.cos(np.pi * fell(20))),
        ("cosine", (("warmup", 0),)): PEAK * (0.5 + 0.5 * np.cos(np.pi * T / STEPS)),
        ("wsd", (("warmup", 20), ("decay", 50))): ramp(20, lambda t: np.where(t < 87, 1, 1 - np.sqrt((t - 87) / 50))),
        ("wsd", (("warmup", 0.05), ("decay", 0.2), ("end", 0.1))): ramp(
            0.05 * STEPS, lambda t: np.where(t < 0.8 * STEPS, 1, 1 - 0.9 * np.sqrt((t - 0.8 * STEPS) / (0.2 * STEPS)))
        ),
        ("wsd", (("warmup", 20), ("decay", 0))): ramp(20, lambda t: np.ones_like(t)),
    }


def make(name, options, steps=STEPS):
    return load(PACKAGE, Variant(name, dict(options)))(steps, PEAK)


@pytest.mark.parametrize(
    ("key", "wanted"), CASES.items(), ids=lambda x: f"{x[0]}-{x[1]}" if isinstance(x, tuple) else ""
)
def test_equals_the_closed_formula(key, wanted):
    schedule = make(*key)
    rates = jax.jit(schedule)(jnp.arange(STEPS + 1))
    assert rates.dtype == jnp.float32
    # 1 - sqrt(x) near x = 1 and the root of what is left near the end lose digits of float32.
    np.testing.assert_allclose(rates, wanted, rtol=1e-5, atol=1e-4 * PEAK)
    np.testing.assert_allclose(schedule(jnp.int32(19)), wanted[19], rtol=1e-5)


def test_every_schedule_is_here():
    assert {name for name, _ in CASES} == set(names(PACKAGE))


@pytest.mark.parametrize("name", names(PACKAGE))
def test_ends(name):
    """0, the peak when the warm-up ends, the end value after the last step and ever after."""
    schedule = make(name, {"warmup": 10, "end": 0.25})
    assert schedule(0) == 0
    assert schedule(5) == pytest.approx(PEAK / 2)
    assert schedule(10) == pytest.approx(PEAK)
    assert schedule(STEPS) == pytest.approx(0.25 * PEAK)
    assert schedule(10 * STEPS) == pytest.approx(0.25 * PEAK)
    rates = jax.vmap(schedule)(jnp.arange(STEPS))
    assert (rates <= PEAK * (1 + 1e-6)).all()
    assert (jnp.diff(rates[10:]) <= 0).all()


@pytest.mark.parametrize("name", names(PACKAGE))
def test_warmup_from_none_to_all_steps(name):
    assert make(name, {"warmup": 0})(0) == pytest.approx(PEAK)
    full = {"warmup": 40} | ({"decay": 0} if name == "wsd" else {})
    assert make(name, full, steps=40)(39) == pytest.approx(PEAK * 39 / 40)


def test_jump_and_continuous_differ_by_the_warmup():
    """At the end of the warm-up Google's rate falls to 1 - w/T of the peak; the other goes on from the peak."""
    jump, continuous = make("linear", {"warmup": 20, "jump": True}), make("linear", {"warmup": 20})
    assert jump(20) == pytest.approx(PEAK * (1 - 20 / STEPS))
    assert continuous(20) == pytest.approx(PEAK)
    assert jump(STEPS) == continuous(STEPS) == 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("linear", {"warmup": -1}, "warmup=-1.* at least 0"),
        ("linear", {"warmup": 200}, "warmup=200.* at most the phase's steps=137"),
        ("linear", {"end": 1.5}, "end=1.5"),
        ("polynomial", {"power": 0.0}, "power=0.0"),
        ("polynomial", {"first": 2}, "first=2"),
        ("cosine", {"end": -0.1}, "end=-0.1"),
        ("wsd", {"warmup": 100, "decay": 50}, "decay=50.* warmup=100"),
        ("wsd", {"decay": 138}, "decay=138"),
        ("wsd", {"dekay": 1}, "dekay"),
    ],
)
def test_wrong_options_are_named(name, options, message):
    with pytest.raises(ConfigError, match=message):
        make(name, options)
