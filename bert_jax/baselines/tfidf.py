"""Logistic regression on TF-IDF, of words or, in Chinese text, of characters, by scikit-learn.

A pair of texts is read as both vectors, what they have in common (their product) and where they differ.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from bert_jax.baselines import Baseline, Reader, one_example_each
from bert_jax.metrics import need
from bert_jax.tasks import Outputs
from configuration.variants import require
from data_pipeline.batches.labelled_rows import Encoded
from data_pipeline.labelled import Record, check_text, column

Unit = Literal["auto", "word", "character"]
SHARE_OF_HAN = 0.3  # of the characters, from which on text is Chinese


def build(*, unit: Unit = "auto", longest: int = 2, penalty: float = 0.1) -> Baseline:
    """The baseline.

    Args:
      unit: what is counted; "auto" for characters where text is Chinese.
      longest: longest n-gram of units; all from 1 on are counted.
      penalty: of large weights, 1 / C of scikit-learn, whose default is too strong for short texts.
    """
    require(longest >= 1, "tfidf.longest", longest, "at least 1")
    require(penalty > 0, "tfidf.penalty", penalty, "above 0")

    def predict(reader: Reader, train: Sequence[Record], records: Sequence[Record]) -> tuple[Outputs, Encoded]:
        need("sklearn")
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        texts = [[check_text(record, name) for record in train] for name in reader.text]
        characters = unit == "character" or (unit == "auto" and is_chinese(texts[0]))
        analyzer = "char" if characters else "word"
        vectorizer = TfidfVectorizer(analyzer=analyzer, ngram_range=(1, longest), sublinear_tf=True, min_df=1)
        vectorizer.fit([text for column_of in texts for text in column_of])
        number = {name: i for i, name in enumerate(reader.labels)}
        labels = np.array([number[str(column(record, reader.label))] for record in train])
        model = LogisticRegression(C=1 / penalty, max_iter=1000).fit(features(vectorizer, texts), labels)
        given = [[check_text(record, name) for record in records] for name in reader.text]
        probabilities = np.zeros((len(records), len(reader.labels)))
        probabilities[:, model.classes_] = model.predict_proba(features(vectorizer, given))
        return {"probabilities": probabilities}, one_example_each([1] * len(records))

    return Baseline(("classification",), predict)


def features(vectorizer: Any, texts: Sequence[Sequence[str]]) -> Any:
    """Sparse [n, F] of one text or two."""
    from scipy import sparse

    vectors = [vectorizer.transform(column_of) for column_of in texts]
    if len(vectors) == 1:
        return vectors[0]
    first, second = vectors
    return sparse.hstack([first, second, first.multiply(second), abs(first - second)]).tocsr()


def is_chinese(texts: Sequence[str]) -> bool:
    """Whether so many characters are Han that words are not separated by spaces."""
    characters = "".join(texts[:100])
    return sum("一" <= c <= "鿿" for c in characters) >= SHARE_OF_HAN * len(characters)
