"""Approximate search: hardly any of the exact neighbours is missed, and an index of other vectors is refused."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from bert_jax.embedding import index
from bert_jax.embedding.search import search
from configuration.variants import ConfigError
from data_pipeline.errors import DataError

NEEDED = pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="needs FAISS: pip install -e '.[search]'")


def clusters(number: int, width: int = 48, seed: int = 0) -> np.ndarray:
    """Vectors around 40 centres, of different lengths."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(40, width))
    return (centres[rng.integers(0, 40, number)] + rng.normal(size=(number, width))).astype(np.float32)


@NEEDED
@pytest.mark.parametrize("score", ["cosine", "dot"])
def test_recall_beside_exact_search(score: str) -> None:
    vectors, queries = clusters(5003), clusters(100, seed=1)
    scores, exact = search(queries, vectors, 10, score)
    near_scores, near = index.search(index.build(vectors, score), queries, 10, score)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(near.tolist(), exact.tolist(), strict=True)])
    assert recall >= 0.98
    np.testing.assert_allclose(near_scores[:, 0], scores[:, 0], rtol=1e-4, atol=1e-4)


@NEEDED
def test_a_file_is_written_once_and_opened_again(tmp_path: Path) -> None:
    vectors, path = clusters(300), tmp_path / "vectors.faiss"
    first = index.search(index.opened(path, vectors), vectors[:5], 3)
    changed = path.stat().st_mtime_ns
    again = index.search(index.opened(path, vectors), vectors[:5], 3)
    assert path.stat().st_mtime_ns == changed
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    np.testing.assert_array_equal(first[1], again[1])
    assert first[1][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert index.search(index.opened(path, vectors), vectors[:2], 1000)[1].shape == (2, 300)


@NEEDED
def test_another_index_is_refused(tmp_path: Path) -> None:
    vectors, path = clusters(300), tmp_path / "vectors.faiss"
    index.opened(path, vectors)
    for other, score in ((vectors[:299], "cosine"), (vectors[::-1], "cosine"), (vectors, "dot")):
        with pytest.raises(DataError, match="is the index of other vectors, or of another --score"):
            index.opened(path, other, score)
    with pytest.raises(ConfigError, match="the queries have 47 numbers each and the index 48"):
        index.search(index.opened(path, vectors), vectors[:, :47], 3)
    path.write_bytes(b"no index")
    with pytest.raises(DataError, match="is no index of FAISS"):
        index.opened(path, vectors)


def test_without_the_library_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'bert_jax\[search\]'"):
        index.build(np.ones((2, 3)))
