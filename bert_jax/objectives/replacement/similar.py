"""Similar words instead of [MASK], which fine-tuning never shows (MacBERT, Cui et al. 2020, section 3.1).

Each word of an n-gram is replaced independently: by one of its nearest words, by random tokens, or not at all. A
similar word has as many pieces and is never the word itself. A word that the table lacks gets random tokens.
"""

import zipfile
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.objectives import Batch, Vocabulary
from bert_jax.objectives.masking import Chosen
from bert_jax.objectives.masking._units import random_at, start_of
from bert_jax.objectives.replacement import Replacement, check_shares
from bert_jax.objectives.replacement.per_unit import share_at
from configuration.variants import ConfigError


def build(vocabulary: Vocabulary, *, file: str = "", similar: float = 0.8, random: float = 0.1) -> Replacement:
    """The replacement.

    Args:
      file: the table of similar words that `python -m data_pipeline.similar_words` writes.
      similar: share of the words that become a similar one, or random tokens where there is none.
      random: share of them that become random tokens of the vocabulary; the rest stay as they are.

    Raises:
      ConfigError: shares that are none, or a table that is missing, damaged or of another vocabulary.
    """
    check_shares(similar=similar, random=random)
    table = read_table(file, vocabulary.size)

    def replace(targets: jax.Array, chosen: Chosen, batch: Batch, key: jax.Array) -> jax.Array:
        kind_key, token_key, word_key = jax.random.split(key, 3)
        at_places = lambda values: jnp.take_along_axis(values, chosen.places, axis=1)
        starts = start_of(_split_punctuation(table, batch))
        first, inside = at_places(starts), at_places(jnp.arange(starts.shape[1]) - starts)
        word, sizes = _hash_at(batch, starts)
        others = _look_up(table, at_places(word), at_places(sizes), random_at(word_key, first))
        pieces = jnp.asarray(table.words)
        shown = pieces[jnp.maximum(others, 0), jnp.minimum(inside, pieces.shape[1] - 1)]
        tokens = jax.random.randint(token_key, targets.shape, 0, vocabulary.size)
        kind = share_at(kind_key, first)
        replaced = jnp.where((kind < similar) & (others >= 0), shown, tokens)
        return jnp.where(kind < similar + random, replaced, targets)

    return Replacement(replace, ("word_starts",))


class Table(NamedTuple):
    """W words of at most M pieces, in the order of their hashes."""

    hashes: np.ndarray  # uint32 [W], rising
    sizes: np.ndarray  # int32 [W], pieces
    words: np.ndarray  # int32 [W, M]
    neighbours: np.ndarray  # int32 [W, K]; the first `counts` of each
    counts: np.ndarray  # int32 [W]
    plain: np.ndarray  # bool [V]; False for punctuation, which is a word of its own


def read_table(file: str, vocab_size: int) -> Table:
    """The table of a file; see `build`."""
    remedy = "python -m data_pipeline.similar_words writes one from a store"
    if not file:
        raise ConfigError(f"config.objective.replacement.file is empty; {remedy}")
    try:
        with np.load(file) as arrays:
            words, sizes, neighbours, plain = (arrays[name] for name in ("words", "sizes", "neighbours", "plain"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        reason = f"which holds no table: {error}"
        raise ConfigError(f"config.objective.replacement.file is {file!r}, {reason}; {remedy}") from None
    if len(plain) > vocab_size:
        reason = f"{len(plain)} pieces where the vocabulary has {vocab_size}"
        raise ConfigError(f"config.objective.replacement.file is {file!r}, which has {reason}; {remedy} of this run")
    inside = np.arange(words.shape[1]) < sizes[:, None]
    hashes = np.where(inside, _mixed(words, np.arange(words.shape[1])), 0).sum(1, dtype=np.uint32)
    order = np.argsort(hashes, kind="stable")
    rank = np.empty(len(order) + 1, np.int32)
    rank[order], rank[-1] = np.arange(len(order)), -1  # neighbour -1 is none
    placed = lambda array: array[order].astype(np.int32)
    counts = (neighbours >= 0).sum(1)
    return Table(hashes[order], placed(sizes), placed(words), placed(rank[neighbours]), placed(counts), plain)


def _split_punctuation(table: Table, batch: Batch) -> jax.Array:
    """bool [B, L]: word starts, where punctuation and what follows it start words too."""
    marks = ~jnp.asarray(table.plain)[batch["tokens"]]
    return batch["word_starts"] | marks | jnp.roll(marks, 1, axis=1).at[:, 0].set(True)


def _mixed(tokens: Any, inside: Any) -> Any:
    """uint32: a hash of a token and its number in its word, of NumPy's arrays or JAX's."""
    x = tokens.astype(np.uint32) * np.uint32(0x9E3779B1) + inside.astype(np.uint32) * np.uint32(0x85EBCA77)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    x = (x ^ (x >> np.uint32(12))) * np.uint32(0x297A2D39)
    return x ^ (x >> np.uint32(15))


def _hash_at(batch: Batch, starts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """At each position the hash of its word, uint32 [B, L], and the word's number of tokens, int32."""
    place, length = jnp.arange(starts.shape[1]), starts.shape[1]
    opens = jnp.where(starts == place, place, length)
    ends = jax.lax.cummin(jnp.roll(opens, -1, axis=1).at[:, -1].set(length), axis=1, reverse=True)
    mixed = _mixed(jnp.asarray(batch["tokens"]), place - starts)
    summed = jnp.cumsum(mixed, axis=1, dtype=jnp.uint32)
    at = lambda places: jnp.take_along_axis(summed, places, axis=1)
    return at(ends - 1) - at(starts) + jnp.take_along_axis(mixed, starts, axis=1), ends - starts


def _look_up(table: Table, word: jax.Array, size: jax.Array, draw: jax.Array) -> jax.Array:
    """int32 [B, P]: a neighbour in the table of the word with this hash and size, by a random draw; -1 for none."""
    if not len(table.hashes):
        return jnp.full(word.shape, -1)
    row = jnp.minimum(jnp.searchsorted(jnp.asarray(table.hashes), word), len(table.hashes) - 1)
    at = lambda array: jnp.asarray(array)[row]
    counts = at(table.counts)
    known = (at(table.hashes) == word) & (at(table.sizes) == size) & (counts > 0)
    which = (draw % jnp.maximum(counts, 1).astype(jnp.uint32)).astype(jnp.int32)
    return jnp.where(known, jnp.asarray(table.neighbours)[row, which], -1)
