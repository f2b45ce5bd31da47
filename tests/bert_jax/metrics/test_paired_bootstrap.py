"""The paired bootstrap, against draws in a plain loop and what statistics says of simple cases."""

import numpy as np
import pytest
from scipy import stats

from bert_jax.metrics import paired_bootstrap, regression
from configuration.variants import ConfigError
from data_pipeline.errors import DataError


@pytest.fixture
def scores():
    generator = np.random.default_rng(1)
    first = (generator.random(200) < 0.7).astype(float)
    return first, np.where(generator.random(200) < 0.1, 1.0, first)


def test_as_draws_in_a_plain_loop(scores):
    first, second = scores
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(2000):
        examples = generator.integers(200, size=200)
        drawn.append(sum(second[i] - first[i] for i in examples) / 200)
    found = paired_bootstrap.compute(first, second, samples=2000, confidence=0.9)
    assert found["difference"] == pytest.approx(second.mean() - first.mean())
    assert (found["first"], found["second"]) == pytest.approx((first.mean(), second.mean()))
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.05, 0.95])))
    others = min(sum(d <= 0 for d in drawn), sum(d >= 0 for d in drawn))
    assert found["p"] == pytest.approx(min(1, 2 * (others + 1) / 2001))


def test_interval_and_p_of_a_normal_mean():
    generator = np.random.default_rng(2)
    first = generator.normal(size=500)
    second = first + generator.normal(0.1, 1.0, size=500)
    found = paired_bootstrap.compute(first, second, samples=20_000)
    test = stats.ttest_rel(second, first)
    low, high = test.confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=0.005)
    assert found["p"] == pytest.approx(test.pvalue, abs=0.01)


def test_draws_in_several_parts_are_as_good(scores, monkeypatch):
    whole = paired_bootstrap.compute(*scores, samples=1000)
    assert paired_bootstrap.compute(*scores, samples=1000) == whole
    assert paired_bootstrap.compute(*scores, samples=1000, seed=1) != whole
    monkeypatch.setattr(paired_bootstrap, "_DRAWN_AT_ONCE", 700)
    assert paired_bootstrap.compute(*scores, samples=1000) == pytest.approx(whole)


@pytest.mark.parametrize("ranks", [False, True])
def test_correlations_as_draws_in_a_plain_loop(ranks):
    """Of ranks among all examples, not among those drawn."""
    rng = np.random.default_rng(3)
    targets = rng.normal(size=150)
    runs = [targets + rng.normal(size=150) * noise for noise in (1.0, 1.2, 0.8)]
    terms = [regression.terms(targets, run, ranks) for run in runs]
    first, second = np.stack(terms[:2]), terms[2]
    found = paired_bootstrap.compute(first, second, statistic=regression.correlation, samples=500)
    values = [stats.rankdata(each) if ranks else each for each in (targets, *runs)]
    own = [stats.pearsonr(values[0], run).statistic for run in values[1:]]
    assert found["first"] == pytest.approx((own[0] + own[1]) / 2)
    assert found["second"] == pytest.approx(own[2])
    generator, drawn = np.random.default_rng(0), []
    for _ in range(500):
        picked = generator.integers(150, size=150)
        one, two, three = (np.corrcoef(values[0][picked], run[picked])[0, 1] for run in values[1:])
        drawn.append(three - (one + two) / 2)
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_the_correlation_of_equal_values_is_0():
    terms = regression.terms(np.arange(9.0), np.full(9, 2.0), False)
    assert regression.correlation(terms.mean(0)) == 0


def test_edge_cases(scores):
    same = paired_bootstrap.compute(scores[0], scores[0])
    assert (same["difference"], same["low"], same["high"], same["p"]) == (0, 0, 0, 1)
    better = paired_bootstrap.compute(np.zeros(5), np.ones(5), samples=999)
    assert (better["low"], better["high"], better["p"]) == (1, 1, 2 / 1000)
    turned = paired_bootstrap.compute(np.ones(5), np.zeros(5), samples=999)
    assert (turned["difference"], turned["p"]) == (-1, 2 / 1000)
    assert paired_bootstrap.compute([1.0], [0.0], samples=1)["p"] == 1


def test_what_cannot_be():
    with pytest.raises(DataError, match="there are 2 first, 1 second"):
        paired_bootstrap.compute([1, 2], [1])
    with pytest.raises(DataError, match="there is no example to score"):
        paired_bootstrap.compute([], [])
    with pytest.raises(DataError, match=r"second\[0\] is nan"):
        paired_bootstrap.compute([1], [np.nan])
    with pytest.raises(ConfigError, match=r"config\.samples is 0"):
        paired_bootstrap.compute([1], [1], samples=0)
    with pytest.raises(ConfigError, match=r"config\.confidence is 95"):
        paired_bootstrap.compute([1], [1], confidence=95)
