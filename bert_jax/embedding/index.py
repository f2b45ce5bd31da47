"""An index of vectors for fast approximate search: FAISS's HNSW graph (Malkov and Yashunin 2016, arXiv 1603.09320).

It holds a copy of the vectors, in memory. Where exact scores of all vectors are fast enough, `search.py` needs neither.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.embedding import unit
from bert_jax.embedding.search import Score
from configuration.files import atomic_write
from configuration.variants import ConfigError
from data_pipeline.errors import DataError

NEIGHBOURS = 32  # of each vector in the graph
BREADTH_BUILDING, BREADTH = 200, 128  # candidates that are kept while the graph is built, and while it is searched
BLOCK = 65536  # vectors that are added at once
CHECKED = 16  # vectors that are compared with those of an index that was written before


def check() -> None:
    """Raises ConfigError where FAISS is not installed."""
    if importlib.util.find_spec("faiss") is None:
        raise ConfigError("an index needs FAISS: pip install 'bert_jax[search]'; without --index the search is exact")


def build(vectors: np.ndarray, score: Score = "cosine") -> Any:
    """The index of vectors float [n, D], which may be a memory map.

    Raises:
      ConfigError: FAISS is not installed, or there is no vector.
    """
    check()
    import faiss

    if not len(vectors):
        raise ConfigError("there is no vector to index")
    index = faiss.IndexHNSWFlat(vectors.shape[1], NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = BREADTH_BUILDING
    for start in range(0, len(vectors), BLOCK):
        index.add(prepared(vectors[start : start + BLOCK], score))
    return index


def search(index: Any, queries: np.ndarray, top: int, score: Score = "cosine") -> tuple[np.ndarray, np.ndarray]:
    """Near vectors for each query, best first: scores float32 [Q, k] and which vectors, int64 [Q, k]; −1 for none.

    Args:
      queries: float [Q, D].
      top: how many, k; fewer if there are fewer vectors.

    Raises:
      ConfigError: queries of another width than the vectors.
    """
    if queries.shape[1] != index.d:
        raise ConfigError(f"the queries have {queries.shape[1]} numbers each and the index {index.d}; use one model")
    top = min(top, index.ntotal)
    index.hnsw.efSearch = max(BREADTH, 2 * top)
    return index.search(prepared(queries, score), top)


def opened(path: Path, vectors: np.ndarray, score: Score = "cosine") -> Any:
    """The index in a file, which is written where there is none.

    Raises:
      ConfigError: FAISS is not installed.
      DataError: the file is no index, or that of other vectors or of another score.
    """
    check()
    import faiss

    if not path.exists():
        index = build(vectors, score)
        with atomic_write(path, durable=False) as file:
            faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]
        return index
    try:
        index = faiss.read_index(str(path))
    except RuntimeError:
        raise DataError(f"{path} is no index of FAISS; delete it, or give another --index") from None
    fits = getattr(index, "hnsw", None) is not None and (index.ntotal, index.d) == vectors.shape
    some = np.unique(np.linspace(0, len(vectors) - 1, CHECKED).astype(int))
    if fits:
        wanted = prepared(vectors[some], score)
        fits = np.allclose([index.reconstruct(int(number)) for number in some], wanted, atol=1e-6)
    if not fits:
        raise DataError(f"{path} is the index of other vectors, or of another --score; delete it, or give another")
    return index


def prepared(x: np.ndarray, score: Score) -> np.ndarray:
    """Vectors whose inner products are the scores, contiguous float32."""
    x = np.ascontiguousarray(x, np.float32)
    return unit(x) if score == "cosine" else x
