"""Vectors of a store's tokens, from which tokens stand near each other in its training text.

Positive pointwise mutual information of tokens at most four places apart, nearer ones counting more, reduced by a
singular value decomposition: what word2vec factorises implicitly (Levy and Goldberg 2014, "Neural word embedding as
implicit matrix factorization"; the weights by distance are those of GloVe). Tokens of alike company get alike vectors.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from data_pipeline.store import Split
from data_pipeline.store.memory import release

WINDOW = 4  # places between two tokens that are counted together, at most
MOST_TOKENS = 1 << 24  # that are read, evenly from all shards: more changes the vectors little
RARE = 0.75  # power of a token's count as a context, so that rare ones count less (Levy et al. 2015, section 3.2)
_TOKENS_AT_ONCE = 1 << 21
_SPARE = 16  # columns beyond the wanted ones, for a better decomposition
_ROUNDS = 2


def token_vectors(split: Split, vocab_size: int, width: int, most_tokens: int = MOST_TOKENS) -> np.ndarray:
    """float32 [V, width], of root mean square 1 where there are any; a token without company has a row of zeros.

    The same bytes each time on one machine. Fewer tokens than columns leave the last columns zero.
    """
    met = together(split, vocab_size, most_tokens)
    vectors = factors(information(met), min(width, vocab_size))
    vectors = vectors @ rotation(vectors.shape[1])  # else the first columns would hold most of each vector
    found = np.zeros((vocab_size, width), np.float32)
    found[:, : vectors.shape[1]] = vectors / max(float(np.sqrt(np.mean(np.square(vectors)))), 1e-12)
    return found


def together(split: Split, vocab_size: int, most_tokens: int = MOST_TOKENS, window: int = WINDOW) -> Any:
    """Symmetric sparse float32 [V, V]: how often two tokens stand near each other, each time 1 / distance."""
    from scipy import sparse

    total = sparse.csr_matrix((vocab_size, vocab_size), dtype=np.float32)
    for tokens, document in _text(split, most_tokens):
        for distance in range(1, window + 1):
            same = document[distance:] == document[:-distance]
            pair = tokens[:-distance][same], tokens[distance:][same]
            weights = np.full(len(pair[0]), 1 / distance, np.float32)
            total += sparse.csr_matrix((weights, pair), total.shape)
    return total + total.T


def _text(split: Split, most_tokens: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tokens, int64 [n], and the number of each one's document in its shard, a part of a shard at a time."""
    share = min(1.0, most_tokens / max(split.tokens, 1))
    for shard in split.shards:
        ends = shard.sentence_offsets[shard.document_offsets[1:]].astype(np.int64)
        last = round(share * shard.facts.tokens)
        for first in range(0, last, _TOKENS_AT_ONCE):
            places = np.arange(first, min(first + _TOKENS_AT_ONCE, last))
            yield shard.tokens[places[0] : places[-1] + 1].astype(np.int64), np.searchsorted(ends, places, "right")
            release(shard.tokens)


def information(met: Any) -> Any:
    """Sparse [W, C]: positive mutual information of words and contexts that were met together so often."""
    by_word = np.maximum(np.asarray(met.sum(1))[:, 0], 1)
    by_context = np.asarray(met.sum(0))[0] ** RARE
    found = met.tocoo()
    chance = by_word[found.row] * by_context[found.col] / max(by_context.sum(), 1)
    found.data = np.maximum(np.log(found.data / chance), 0)
    found = found.tocsr()
    found.eliminate_zeros()
    return found


def factors(matrix: Any, width: int) -> np.ndarray:
    """float64 [W, width]: left singular vectors times the square roots of their values, largest first.

    By a random projection and subspace iteration (Halko et al. 2011, algorithm 4.4).
    """
    columns = min(width + _SPARE, *matrix.shape)
    basis = matrix @ np.random.default_rng(0).normal(size=(matrix.shape[1], columns))
    for _ in range(_ROUNDS):
        basis = matrix @ np.linalg.qr(matrix.T @ np.linalg.qr(basis)[0])[0]
    basis = np.linalg.qr(basis)[0]
    left, values, _ = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    return (basis @ left * np.sqrt(values))[:, :width]


def rotation(width: int) -> np.ndarray:
    """float64 [width, width]: a random one, always the same."""
    return np.linalg.qr(np.random.default_rng(1).normal(size=(width, width)))[0]
