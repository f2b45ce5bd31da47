"""Linear models on TF-IDF, of words or, in Chinese text, of characters, by scikit-learn: logistic regression for
classes, ridge regression for numbers.

A pair of texts is read as both vectors, what they have in common (their product), where they differ, and their cosine.
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


def build(*, unit: Unit = "auto", longest: int = 2, penalty: float = 0.1, ridge: float = 1.0) -> Baseline:
    """The baseline.

    Args:
      unit: what is counted; "auto" for characters where text is Chinese.
      longest: longest n-gram of units; all from 1 on are counted.
      penalty: of large weights in logistic regression, 1 / C of scikit-learn, whose default is too strong for short
        texts.
      ridge: of large weights in ridge regression, alpha of scikit-learn.
    """
    require(longest >= 1, "tfidf.longest", longest, "at least 1")
    require(penalty > 0, "tfidf.penalty", penalty, "above 0")
    require(ridge > 0, "tfidf.ridge", ridge, "above 0")

    def predict(reader: Reader, train: Sequence[Record], records: Sequence[Record]) -> tuple[Outputs, Encoded]:
        texts, given = (
            [[check_text(each, name) for each in these] for name in reader.text] for these in (train, records)
        )
        vectorizer = fitted([text for column_of in texts for text in column_of], unit, longest)
        known = features(vectorizer, texts), [column(record, reader.label) for record in train]
        others = features(vectorizer, given)
        outputs = classes(reader, *known, others, penalty) if reader.labels else numbers(*known, others, ridge)
        return outputs, one_example_each([1] * len(records))

    return Baseline(("classification", "regression"), predict)


def fitted(texts: Sequence[str], unit: Unit = "auto", longest: int = 1) -> Any:
    """scikit-learn's vectorizer with the words, or characters, and n-grams of the texts."""
    need("sklearn")
    from sklearn.feature_extraction.text import TfidfVectorizer

    characters = unit == "character" or (unit == "auto" and is_chinese(texts))
    analyzer = "char" if characters else "word"
    return TfidfVectorizer(analyzer=analyzer, ngram_range=(1, longest), sublinear_tf=True, min_df=1).fit(texts)


def classes(reader: Reader, known: Any, labels: Sequence[Any], others: Any, penalty: float) -> Outputs:
    """probabilities [n, K] of others [n, F]"""
    from sklearn.linear_model import LogisticRegression

    number = {name: i for i, name in enumerate(reader.labels)}
    model = LogisticRegression(C=1 / penalty, max_iter=1000).fit(known, [number[str(label)] for label in labels])
    probabilities = np.zeros((others.shape[0], len(reader.labels)))
    probabilities[:, model.classes_] = model.predict_proba(others)
    return {"probabilities": probabilities}


def numbers(known: Any, labels: Sequence[Any], others: Any, ridge: float) -> Outputs:
    """value [n, 1] of others [n, F]"""
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=ridge, tol=1e-8).fit(known, [float(label) for label in labels])
    return {"value": model.predict(others)[:, None]}


def features(vectorizer: Any, texts: Sequence[Sequence[str]]) -> Any:
    """Sparse [n, F] of one text or two."""
    from scipy import sparse

    vectors = [vectorizer.transform(column_of) for column_of in texts]
    if len(vectors) == 1:
        return vectors[0]
    first, second = vectors
    common = first.multiply(second)
    cosine = sparse.csr_matrix(common.sum(axis=1))  # the vectors are of length 1
    return sparse.hstack([first, second, common, abs(first - second), cosine]).tocsr()


def is_chinese(texts: Sequence[str]) -> bool:
    """Whether so many characters are Han that words are not separated by spaces."""
    characters = "".join(texts[:100])
    return sum("一" <= c <= "鿿" for c in characters) >= SHARE_OF_HAN * len(characters)
