"""Clustering: whether k-means with a cluster for each label finds the labels (as MTEB has it, arXiv 2210.07316)."""

import importlib.util
from collections.abc import Sequence

import numpy as np

from bert_jax.embedding.evaluations import Embed, Evaluation, distinct
from configuration.variants import ConfigError
from data_pipeline.errors import DataError
from data_pipeline.labelled import Record, check_text, column


def build(*, text: str = "text", label: str = "label", starts: int = 10, seed: int = 0) -> Evaluation:
    """The evaluation: v_measure, and the adjusted Rand index.

    Args:
      text, label: columns.
      starts: of k-means; the one with the lowest inertia counts.
      seed: of the starts.
    """

    def evaluate(embed: Embed, records: Sequence[Record]) -> dict[str, float]:
        if importlib.util.find_spec("sklearn") is None:
            raise ConfigError("clustering needs scikit-learn: pip install 'bert_jax[finetune]'")
        from sklearn import cluster, metrics

        labels = [str(column(record, label)) for record in records]
        number = len(set(labels))
        if not 2 <= number < len(labels):
            raise DataError(f"{len(labels)} records have {number} labels; clustering needs two, of several each")
        (vectors,) = distinct(embed, [check_text(record, text) for record in records])
        found = cluster.KMeans(number, n_init=starts, random_state=seed).fit_predict(np.asarray(vectors))
        return {
            "v_measure": float(metrics.v_measure_score(labels, found)),
            "adjusted_rand": float(metrics.adjusted_rand_score(labels, found)),
        }

    return Evaluation(evaluate, "v_measure")
