"""Vectors of tokens by co-occurrence: counts by hand, factors against NumPy's, similar vectors of similar tokens."""

import numpy as np
import pytest
import scipy.sparse

from data_pipeline import cooccurrence
from data_pipeline.store.writer import write_store

RNG = np.random.default_rng(0)
VOCABULARY = 101


def make_store(folder, documents, documents_per_shard=1 << 30, vocab_size=VOCABULARY):
    return write_store(folder, {"train": documents}, vocab_size=vocab_size, documents_per_shard=documents_per_shard)


def random_documents(number):
    sentence = lambda: RNG.integers(5, VOCABULARY, RNG.integers(1, 12)).tolist()
    return [[sentence() for _ in range(RNG.integers(1, 5))] for _ in range(number)]


@pytest.mark.parametrize("per_shard", [1 << 30, 7])
def test_counts_are_those_of_every_pair_of_a_document(tmp_path, per_shard) -> None:
    documents = random_documents(40)
    expected = np.zeros((VOCABULARY, VOCABULARY))
    for document in documents:
        tokens = [token for sentence in document for token in sentence]
        for i, first in enumerate(tokens):
            for distance, second in enumerate(tokens[i + 1 : i + 5], 1):
                expected[first, second] += 1 / distance
                expected[second, first] += 1 / distance
    split = make_store(tmp_path / "store", documents, per_shard).split("train")
    found = cooccurrence.together(split, VOCABULARY)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("most_tokens", "most_shards", "of_shards", "of_each"),
    [
        (240, 2, range(6), 40),
        (120, 6, range(6), 20),
        (120, 9, range(6), 20),
        (60, 3, (0, 2, 4), 20),
        (200, 2, (0, 3), 40),
    ],
)
def test_of_much_text_some_shards_give_their_parts(tmp_path, most_tokens, most_shards, of_shards, of_each) -> None:
    split = make_store(tmp_path / "store", [[[5 + i] * 40] for i in range(6)], 1).split("train")
    found = cooccurrence.together(split, VOCABULARY, most_tokens, most_shards).toarray()
    assert np.flatnonzero(found.any(axis=0)).tolist() == [5 + i for i in of_shards]
    expected = 2 * sum((of_each - distance) / distance for distance in range(1, 5))  # counted from both sides
    np.testing.assert_allclose(found[found > 0], expected, rtol=1e-6)


def test_information_by_hand() -> None:
    met = RNG.integers(0, 4, (13, 7)) * RNG.integers(0, 2, (13, 7)) * 1.0
    contexts = met.sum(0) ** 0.75
    with np.errstate(divide="ignore"):
        expected = np.log(met / np.maximum(met.sum(1, keepdims=True), 1) / (contexts / contexts.sum()))
    found = cooccurrence.information(scipy.sparse.csr_matrix(met))
    np.testing.assert_allclose(found.toarray(), np.maximum(expected, 0), rtol=1e-6)


def test_factors_are_those_of_the_singular_value_decomposition() -> None:
    low = RNG.normal(size=(60, 9)) @ np.diag(2.0 ** -np.arange(9)) @ RNG.normal(size=(9, 41))
    matrix = scipy.sparse.csr_matrix(low + 1e-4 * RNG.normal(size=low.shape))
    left, values, _ = np.linalg.svd(matrix.toarray(), full_matrices=False)
    expected = left[:, :7] * np.sqrt(values[:7])
    found = cooccurrence.factors(matrix, 7)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-6)
    assert cooccurrence.factors(matrix, 41).shape == (60, 41)


def test_tokens_among_the_same_tokens_get_similar_vectors(tmp_path) -> None:
    """Tokens 10 to 19 stand among 30 to 39, tokens 20 to 29 among 40 to 49."""
    documents = []
    for _ in range(400):
        kind = int(RNG.integers(0, 2))
        word, company = 10 + 10 * kind + RNG.integers(0, 10, 6), 30 + 10 * kind + RNG.integers(0, 10, 6)
        documents.append([np.stack([word, company], 1).ravel().tolist()])
    split = make_store(tmp_path / "store", documents).split("train")
    vectors = cooccurrence.token_vectors(split, VOCABULARY, 16)
    assert (vectors.shape, vectors.dtype) == ((VOCABULARY, 16), np.float32)
    assert np.flatnonzero(vectors.any(axis=1)).tolist() == list(range(10, 50))
    assert np.isclose(np.sqrt(np.mean(vectors[10:50] ** 2)), 1, atol=1e-3)  # the other 61 tokens are not in the text
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    cosines = unit[10:30] @ unit[10:30].T
    assert cosines[:10, :10].min() > cosines[:10, 10:].max() + 0.3
    np.testing.assert_array_equal(vectors, cooccurrence.token_vectors(split, VOCABULARY, 16))


def test_fewer_tokens_than_columns(tmp_path) -> None:
    split = make_store(tmp_path / "store", [[[5, 6, 7, 5, 6]]], vocab_size=11).split("train")
    vectors = cooccurrence.token_vectors(split, 11, 16)
    assert vectors.shape == (11, 16)
    assert np.isfinite(vectors).all()
    assert not vectors[:, 11:].any()


def test_text_without_pairs_leaves_all_vectors_zero(tmp_path) -> None:
    split = make_store(tmp_path / "store", [[[5]], [[6]]], vocab_size=11).split("train")
    assert not cooccurrence.token_vectors(split, 11, 4).any()
