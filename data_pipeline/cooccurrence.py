"""Vectors of a store's tokens, from which tokens stand near each other in its training text.

Positive pointwise mutual information of tokens at most four places apart, nearer ones counting more, reduced by a
singular value decomposition: what word2vec factorises implicitly (Levy and Goldberg 2014, "Neural word embedding as
implicit matrix factorization"; the weights by distance are those of GloVe). Tokens that occur among the same tokens get
similar vectors.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from data_pipeline.store import Split
from data_pipeline.store.memory import release

WINDOW = 4  # places between two tokens that are counted together, at most
MOST_TOKENS = 1 << 24  # that are read
MOST_SHARDS = 16  # that they are read from, where there are more tokens: a large store need not be there as a whole
RARE = 0.75  # power of a token's count as a context, so that rare ones count less (Levy et al. 2015, section 3.2)
_TOKENS_AT_ONCE = 1 << 21
_SPARE = 16  # columns beyond the wanted ones, for a better decomposition
_ROUNDS = 2


def token_vectors(split: Split, vocab_size: int, width: int) -> np.ndarray:
    """float32 [V, width]: rows of zeros for tokens that stand near no other, the others of root mean square 1 together.

    The same bytes each time on one machine. Fewer tokens than columns leave the last columns zero.
    """
    found = np.zeros((vocab_size, width), np.float32)
    vectors = factors(information(together(split, vocab_size)), width)
    there = vectors.any(axis=1)
    if there.any():
        vectors /= np.sqrt(np.mean(np.square(vectors[there])))
        # Unrotated, the first columns would hold most of each vector.
        found[:, : vectors.shape[1]] = vectors @ rotation(vectors.shape[1])
    return found


def together(split: Split, vocab_size: int, most_tokens: int = MOST_TOKENS, most_shards: int = MOST_SHARDS) -> Any:
    """Symmetric sparse float32 [V, V]: how often two tokens stand near each other, each time 1 / distance."""
    from scipy import sparse

    total = sparse.csr_matrix((vocab_size, vocab_size), dtype=np.float32)
    for tokens, document in _parts(split, most_tokens, most_shards):
        first, second, weights = [], [], []
        for distance in range(1, WINDOW + 1):
            same = document[distance:] == document[:-distance]
            first.append(tokens[:-distance][same])
            second.append(tokens[distance:][same])
            weights.append(np.full(len(first[-1]), 1 / distance, np.float32))
        pairs = np.concatenate(first), np.concatenate(second)
        total += sparse.csr_matrix((np.concatenate(weights), pairs), total.shape)
    return total + total.T


def _parts(split: Split, most_tokens: int, most_shards: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Parts of the text: tokens int32 [n], and of each the number of its document in the shard.

    All text, or as much of each of some shards, evenly spread.
    """
    shards, share = split.shards, 1.0
    if split.tokens > most_tokens:
        number = min(most_shards, len(shards))
        shards = tuple(shards[i * len(shards) // number] for i in range(number))
        share = min(1.0, most_tokens / sum(shard.facts.tokens for shard in shards))
    for shard in shards:
        ends = shard.sentence_offsets[shard.document_offsets[1:]].astype(np.int64)
        last = round(share * shard.facts.tokens)
        for begin in range(0, last, _TOKENS_AT_ONCE):
            end = min(begin + _TOKENS_AT_ONCE, last)
            yield shard.tokens[begin:end].astype(np.int32), np.searchsorted(ends, np.arange(begin, end), "right")
        release(shard.tokens, shard.sentence_offsets, shard.document_offsets)


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
    """[W, at most width], in the matrix's type: left singular vectors times the square roots of their values.

    The largest first, by a random projection and subspace iteration (Halko et al. 2011, algorithm 4.4). An empty row
    gives zeros.
    """
    columns = min(width + _SPARE, *matrix.shape)
    basis = matrix @ np.random.default_rng(0).normal(size=(matrix.shape[1], columns)).astype(matrix.dtype)
    for _ in range(_ROUNDS):
        basis = matrix @ np.linalg.qr(matrix.T @ np.linalg.qr(basis)[0])[0]
    basis = np.linalg.qr(basis)[0]
    left, values, _ = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    found = (basis @ left * np.sqrt(values))[:, :width]
    return np.where(matrix.getnnz(axis=1)[:, None] > 0, found, 0)  # of empty rows QR leaves rounding errors


def rotation(width: int) -> np.ndarray:
    """float32 [width, width]: a random one, always the same."""
    return np.linalg.qr(np.random.default_rng(1).normal(size=(width, width)))[0].astype(np.float32)
