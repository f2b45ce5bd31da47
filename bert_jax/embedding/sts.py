"""Metrics of vectors: graded similarity, alignment and uniformity, pairs, retrieval. NumPy alone."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bert_jax.embedding import unit
from data_pipeline.errors import DataError

_BLOCK = 1024  # vectors whose distances to all others are in memory at once


def cosine(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """u, v [n, D] → float64 [n], in pairs."""
    u, v = _unit(u), _unit(v)
    return (u * v).sum(-1)


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """The correlation of ranks, equal values sharing their mean rank; 0 where all of a side are equal.

    Raises:
      DataError: different numbers of values, fewer than two, or one that is not finite.
    """
    x, y = _checked(x, y)
    ranks = [_ranks(values) for values in (x, y)]
    ranks = [values - values.mean() for values in ranks]
    size = math.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum())
    return float((ranks[0] * ranks[1]).sum() / size) if size else 0.0


def sts(sets: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Spearman correlations of a benchmark with several sets, as STS 2012 to 2016 are (Gao et al. 2021, appendix B).

    Args:
      sets: of each name the similarities found and those that people gave.

    Returns:
      "all", of the pairs of all sets together, what SimCSE and most papers since report; "mean" over the sets; and
      "wmean", the mean over the sets by their numbers of pairs, as in SentEval.
    """
    each = {name: spearman(found, given) for name, (found, given) in sets.items()}
    sizes = np.array([len(found) for found, _ in sets.values()], np.float64)
    together = [np.concatenate([np.asarray(pair[side], np.float64) for pair in sets.values()]) for side in (0, 1)]
    return {
        "all": spearman(*together),
        "mean": float(np.mean(list(each.values()))),
        "wmean": float(np.average(list(each.values()), weights=sizes)),
    }


def pairs(
    vectors: np.ndarray,
    given: np.ndarray,
    documents: Sequence[str],
    sets: Sequence[str] = (),
    positive_from: float | None = None,
) -> dict[str, float]:
    """All metrics of scored pairs; higher is better for each.

    Args:
      vectors: float [n, 2, D].
      given: float [n], the scores that people gave.
      documents: the second text of each pair, to recognise equal ones.
      sets: of each pair the set that it belongs to, such as its file; empty for one set.
      positive_from: the lowest score of a pair that belongs together; None for the middle of the range of scores.

    Returns:
      spearman, of all pairs together. Where there are several sets, spearman_mean and spearman_wmean. Where some pairs
      belong together and others do not: average_precision; negative_alignment of those that do; negative_uniformity of
      all texts; and ndcg@10, mrr@10 and recall@1 of finding, by the first text of those that do, the second one among
      all second texts.
    """
    u, v = _unit(vectors[:, 0]), _unit(vectors[:, 1])
    given, found = np.asarray(given, np.float64), (u * v).sum(-1)
    names = np.asarray(sets if len(sets) else [""] * len(given))
    each = {str(name): (found[names == name], given[names == name]) for name in np.unique(names)}
    figures = {"spearman": spearman(found, given)}
    if len(each) > 1 and all(len(values) > 1 for values, _ in each.values()):
        figures |= {f"spearman_{name}": value for name, value in sts(each).items() if name != "all"}
    positive = given >= ((given.min() + given.max()) / 2 if positive_from is None else positive_from)
    if positive.any() and not positive.all():
        figures["average_precision"] = average_precision(found, positive)
        figures["negative_alignment"] = -alignment(u[positive], v[positive])
        figures["negative_uniformity"] = -uniformity(np.concatenate([u, v]))
        figures |= _second_texts(u[positive], v, np.flatnonzero(positive), documents)
    return figures


def _second_texts(u: np.ndarray, v: np.ndarray, own: np.ndarray, documents: Sequence[str]) -> dict[str, float]:
    """Retrieval of document `own` [Q] of v [n, D] by u [Q, D], where equal documents are one."""
    _, firsts, number = np.unique(np.asarray(documents), return_index=True, return_inverse=True)
    top, different = min(10, len(firsts)), v[firsts]
    blocks = (u[start : start + _BLOCK] @ different.T for start in range(0, len(u), _BLOCK))
    ranked = np.concatenate([np.argsort(-scores, axis=1, kind="stable")[:, :top] for scores in blocks])
    return retrieval(ranked, [{int(number[place]): 1.0} for place in own], recall_at=(1,))


def alignment(u: np.ndarray, v: np.ndarray, alpha: float = 2.0) -> float:
    """The mean of |u − v|^α over positive pairs [n, D] at length 1 (Wang and Isola 2020, arXiv 2005.10242, 4.1)."""
    return float((np.linalg.norm(_unit(u) - _unit(v), axis=-1) ** alpha).mean())


def uniformity(x: np.ndarray, t: float = 2.0) -> float:
    """log of the mean of exp(−t |x − y|²) over all pairs of different vectors [n, D] at length 1 (the same, 4.1)."""
    x = _unit(x)
    if len(x) < 2:
        raise DataError(f"uniformity is of pairs; there are {len(x)} vectors")
    total = 0.0
    for start in range(0, len(x), _BLOCK):
        squares = np.maximum(2 - 2 * x[start : start + _BLOCK] @ x.T, 0)
        total += np.exp(-t * squares).sum() - len(squares)  # each with itself counts 1
    return float(np.log(total / (len(x) * (len(x) - 1))))


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Σ (recallₙ − recallₙ₋₁) precisionₙ over the thresholds n; pairs of equal score share one.

    Args:
      scores: float [n], the larger, the more likely a pair.
      labels: bool [n].

    Raises:
      DataError: no pair that is one, or as in `spearman`.
    """
    scores, labels = _checked(scores, np.asarray(labels, bool))
    if not labels.any():
        raise DataError("there is no positive pair, of which average precision is defined")
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(labels[order])
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of the pairs of one score
    precision, recall = found[ends] / (ends + 1), found[ends] / found[-1]
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def retrieval(
    ranked: np.ndarray,
    relevant: Sequence[Mapping[int, float]],
    *,
    at: int = 10,
    recall_at: Sequence[int] = (1, 10, 100),
) -> dict[str, float]:
    """Means over the queries.

    Args:
      ranked: int [Q, K], the documents found for each query, best first.
      relevant: of each query its relevant documents with their grades above 0.
      at: how many are looked at for nDCG and MRR; trec_eval's nDCG, whose gain is the grade.
      recall_at: for recall; numbers above K are left out.

    Returns:
      ndcg@…, mrr@…, recall@….

    Raises:
      DataError: another number of queries, or one without relevant documents.
    """
    if len(ranked) != len(relevant):
        raise DataError(f"there are {len(ranked)} queries with documents found and {len(relevant)} with relevant ones")
    figures: dict[str, list[float]] = {}
    for query, (found, grades) in enumerate(zip(ranked, relevant, strict=True)):
        grades = {document: grade for document, grade in grades.items() if grade > 0}
        if not grades:
            raise DataError(f"query {query} has no relevant document; leave it out")
        gains = np.array([grades.get(int(document), 0.0) for document in found])
        best = np.array(sorted(grades.values(), reverse=True))
        hits = np.flatnonzero(gains[:at])
        figures.setdefault(f"ndcg@{at}", []).append(_discounted(gains[:at]) / _discounted(best[:at]))
        figures.setdefault(f"mrr@{at}", []).append(1 / (1 + hits[0]) if len(hits) else 0.0)
        for k in recall_at:
            if k <= len(found):
                figures.setdefault(f"recall@{k}", []).append(float((gains[:k] > 0).sum() / len(grades)))
    return {name: float(np.mean(values)) for name, values in figures.items()}


def _discounted(gains: np.ndarray) -> float:
    return float((gains / np.log2(np.arange(len(gains)) + 2)).sum())


def _unit(x: np.ndarray) -> np.ndarray:
    return unit(np.asarray(x, np.float64))


def _ranks(x: np.ndarray) -> np.ndarray:
    _, which, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[which]


def _checked(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x), np.asarray(y)
    if x.shape != y.shape or x.ndim != 1:
        raise DataError(f"there are {list(x.shape)} values on one side and {list(y.shape)} on the other; give pairs")
    if len(x) < 2:
        raise DataError(f"a figure of pairs needs two or more; there are {len(x)}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise DataError("a value is NaN or infinite; the model has diverged")
    return x, y
