"""Latent semantic analysis, TF-IDF in fewer dimensions (Deerwester et al. 1990), for vectors of texts."""

from collections.abc import Sequence

import numpy as np

from bert_jax.baselines import Baseline, Reader, one_example_each, tfidf
from bert_jax.tasks import Outputs
from configuration.variants import require
from data_pipeline.batches.labelled_rows import Encoded
from data_pipeline.labelled import Record, check_text


def build(*, unit: tfidf.Unit = "auto", longest: int = 1, dimensions: int = 300) -> Baseline:
    """The baseline.

    Args:
      unit, longest: as in tfidf.py.
      dimensions: of the vectors at most; fewer where there are fewer texts or words.
    """
    require(longest >= 1, "latent_semantic.longest", longest, "at least 1")
    require(dimensions >= 1, "latent_semantic.dimensions", dimensions, "at least 1")

    def predict(reader: Reader, train: Sequence[Record], records: Sequence[Record]) -> tuple[Outputs, Encoded]:
        learnt_from = dict.fromkeys(reader.options.get("texts", ("text",)))  # columns; those of pairs may be others
        texts = [check_text(record, name) for record in train for name in learnt_from]
        vectorizer = tfidf.fitted(texts, unit, longest)
        from sklearn.decomposition import TruncatedSVD

        known = vectorizer.transform(texts)
        svd = TruncatedSVD(min(dimensions, *known.shape), random_state=0).fit(known)
        given = [[check_text(record, name) for record in records] for name in reader.text]
        vectors = [svd.transform(vectorizer.transform(column_of)) for column_of in given]
        return {"vectors": np.stack(vectors, axis=1)}, one_example_each([1] * len(records))

    return Baseline(("sentence_vectors",), predict)
