"""Figures of vectors against SciPy, scikit-learn, and plain loops of the definitions."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from bert_jax.embedding import sts
from data_pipeline.errors import DataError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("ties", [False, True])
def test_spearman_is_scipys(ties: bool) -> None:
    x, y = RNG.normal(size=(2, 101))
    if ties:
        x, y = x.round(), y.round(1)
    assert sts.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_all_is_of_all_pairs_and_wmean_of_the_sets_by_their_sizes() -> None:
    sets = {name: (RNG.normal(size=n) + shift, RNG.normal(size=n)) for name, n, shift in (("a", 40, 0), ("b", 9, 5))}
    found = sts.sts(sets)
    each = [stats.spearmanr(*pair).statistic for pair in sets.values()]
    together = [np.concatenate([pair[i] for pair in sets.values()]) for i in (0, 1)]
    assert found["all"] == pytest.approx(stats.spearmanr(*together).statistic)
    assert found["mean"] == pytest.approx(sum(each) / 2)
    assert found["wmean"] == pytest.approx((40 * each[0] + 9 * each[1]) / 49)
    assert len({round(value, 6) for value in found.values()}) == 3


def test_alignment_and_uniformity_are_wang_and_isolas() -> None:
    u, v = RNG.normal(size=(2, 37, 12)).astype(np.float32)
    unit = lambda x: [row / math.sqrt(sum(a * a for a in row)) for row in x.astype(float)]
    square = lambda a, b: sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    pairs = list(zip(unit(u), unit(v), strict=True))
    assert sts.alignment(u, v) == pytest.approx(sum(square(a, b) for a, b in pairs) / 37)
    assert sts.alignment(u, v, 1) == pytest.approx(sum(math.sqrt(square(a, b)) for a, b in pairs) / 37)
    x = unit(u)
    each = [math.exp(-2 * square(x[i], x[j])) for i in range(37) for j in range(i)]
    assert sts.uniformity(u) == pytest.approx(math.log(sum(each) / len(each)))
    many = RNG.normal(size=(2500, 5))
    torch = pytest.importorskip("torch")
    plain = torch.pdist(torch.nn.functional.normalize(torch.tensor(many))).pow(2).mul(-2).exp().mean().log()
    assert sts.uniformity(many) == pytest.approx(plain.item(), rel=1e-9)


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_scikit_learns(ties: bool) -> None:
    scores, labels = RNG.normal(size=101), RNG.random(101) < 0.3
    scores = scores.round() if ties else scores
    assert sts.average_precision(scores, labels) == pytest.approx(metrics.average_precision_score(labels, scores))


def test_retrieval_by_hand() -> None:
    found = sts.retrieval(
        np.array([[7, 1, 4], [2, 3, 9]]), [{1: 2.0, 5: 1.0, 8: 0.0}, {9: 1.0}], at=3, recall_at=(1, 3, 5)
    )
    first = (2 / math.log2(3)) / (2 / math.log2(2) + 1 / math.log2(3))
    assert found == pytest.approx(
        {
            "ndcg@3": (first + 1 / math.log2(4)) / 2,
            "mrr@3": (1 / 2 + 1 / 3) / 2,
            "recall@1": 0,
            "recall@3": (0.5 + 1) / 2,
        }
    )


def test_ndcg_is_scikit_learns() -> None:
    """Of rankings of all documents, which is what its function takes."""
    grades, scores = RNG.integers(0, 4, (20, 30)), RNG.normal(size=(20, 30))
    grades[:, 0] = 1
    relevant = [dict(enumerate(map(float, row))) for row in grades]
    found = sts.retrieval(np.argsort(-scores), relevant)
    assert found["ndcg@10"] == pytest.approx(metrics.ndcg_score(grades, scores, k=10))


def test_what_has_no_figure() -> None:
    with pytest.raises(DataError, match="query 1 has no relevant document"):
        sts.retrieval(np.zeros((2, 3), int), [{0: 1.0}, {0: 0.0}])
    with pytest.raises(DataError, match="give pairs"):
        sts.spearman(np.zeros(3), np.zeros(4))
    with pytest.raises(DataError, match="NaN or infinite"):
        sts.spearman(np.array([1, np.nan]), np.zeros(2))
    with pytest.raises(DataError, match="no positive pair"):
        sts.average_precision(np.zeros(3), np.zeros(3))
    with pytest.raises(DataError, match="there are 1 vectors"):
        sts.uniformity(np.ones((1, 3)))
    assert sts.spearman(np.ones(3), np.arange(3)) == 0
