"""The original order of the parts of a text (ERNIE 2.0, Sun et al. 2019, arXiv 1907.12412, section 4.2.2).

The first text of a row is cut at ends of sentences into 1 to m parts, which are put in a random order, and the encoder
says which of the 1! + 2! + … + m! orders it is. As in the paper, the text as it was is one of these for each number of
parts, and nothing tells those m apart.
"""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import Model
from bert_jax.modeling import heads
from bert_jax.modeling.bert import encode
from bert_jax.modeling.heads import pooler
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, _own_head, mlm, normalized
from bert_jax.objectives._cross_entropy import cross_entropy
from bert_jax.objectives.masking._slots import least_of_largest
from configuration.variants import ConfigError

HEAD, STARTS = "order_head", "sentence_starts"
LARGEST = 6  # parts: 873 orders


def parts(model: Model, *, most: int = 3) -> Parts:
    """The pooler, and the head that reads it."""
    return {**heads.parts(model, "pooler"), HEAD: _own_head.part(model, len(orders(most)))}


def exported(model: Model) -> dict[str, str]:
    """The head's names."""
    return _own_head.exported(HEAD, model)


def build(model: Model, vocabulary: Vocabulary, *, most: int = 3) -> Objective:
    """The objective. Its rows need the annotation sentence_starts.

    Args:
      most: m, parts of a text; a text of fewer sentences has as many.

    Raises:
      ConfigError: no two parts, or more orders than there is a use for.
    """
    if not 2 <= most <= LARGEST:
        raise ConfigError(f"config.objective.most is {most}; it must be between 2 and {LARGEST} parts")
    ranks = jnp.asarray(orders(most))
    firsts = np.cumsum([0, *(math.factorial(n) for n in range(1, most))])  # class of the first order of n + 1 parts

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        """Moves the parts; adds order (int32 [B]) and order_weights (float [B]), of sum 1, 0 for rows of a sentence."""
        number_key, cut_key, order_key = jax.random.split(key, 3)
        tokens = jnp.asarray(batch["tokens"], jnp.int32)
        text, starts = first_text(batch, mlm.is_text(tokens, batch["segments"], vocabulary))
        rows, sentences = len(tokens), starts.sum(1)
        wanted = jnp.clip(jax.random.randint(number_key, (rows,), 1, most + 1), 1, jnp.maximum(sentences, 1))
        part = cut(starts, wanted, cut_key)
        among = jnp.asarray([math.factorial(n) for n in range(most + 1)])[wanted]
        drawn = jnp.minimum((jax.random.uniform(order_key, (rows,)) * among).astype(jnp.int32), among - 1)
        order = jnp.asarray(firsts)[wanted - 1] + drawn
        moved = move(tokens, text, part, ranks[order])
        weights = normalized((sentences > 1).astype(jnp.float32))
        return batch | {"tokens": moved, "order": order.astype(jnp.int32), "order_weights": weights}

    def loss(params: dict, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        """The mean of −log p over the rows of several sentences, and the accuracy."""
        del constants
        hidden = encode(model, params, batch, key, jnp.zeros_like(batch["order"])[:, None])  # [CLS]
        choice = _own_head.logits(model, params, HEAD, pooler.pool(model, params, hidden))
        loss, accuracy = cross_entropy(choice, batch["order"], batch["order_weights"])
        return loss, {"accuracy": accuracy}

    return Objective(corrupt, loss, (STARTS,))


def orders(most: int) -> np.ndarray:
    """int32 [1! + … + most!, most]: the rank of every part in each order; absent parts keep their own."""
    every = [order for n in range(1, most + 1) for order in itertools.permutations(range(n))]
    return np.array([[*order, *range(len(order), most)] for order in every], np.int32)


def first_text(batch: Batch, text: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The tokens of each row's first text, and those of them that start its sentences; bool [B, L]."""
    is_first = (batch["segments"] == batch["segments"][:, :1]) & (batch["token_types"] == batch["token_types"][:, :1])
    text = text & is_first
    opens = text & (jnp.cumsum(text, axis=1) == 1)
    return text, (text & batch[STARTS]) | opens


def cut(starts: jax.Array, wanted: jax.Array, key: jax.Array) -> jax.Array:
    """int32 [B, L]: the number of each token's part, of as many as `wanted` [B], cut at random starts of sentences."""
    inner = starts & (jnp.cumsum(starts, axis=1) > 1)
    draw = jnp.where(inner, jax.random.bits(key, starts.shape) | 1, 0)
    cuts = inner & (draw >= least_of_largest(draw, wanted - 1)[:, None]) & (wanted > 1)[:, None]
    return jnp.cumsum(cuts, axis=1, dtype=jnp.int32)


def move(tokens: jax.Array, text: jax.Array, part: jax.Array, ranks: jax.Array) -> jax.Array:
    """tokens [B, L] with the parts of their text one after the other by `ranks` [B, m]."""
    of_part = (part[..., None] == jnp.arange(ranks.shape[1])) & text[..., None]  # [B, L, m]
    sizes = of_part.sum(1)
    sooner = ranks[:, None] < ranks[..., None]  # [B, m, m]: the second one stands before the first
    begins = (sizes[:, None] * sooner).sum(2)
    began = jnp.cumsum(sizes, axis=1) - sizes  # where each part stood
    shift = jnp.take_along_axis(begins - began, jnp.minimum(part, ranks.shape[1] - 1), axis=1)
    places = jnp.arange(tokens.shape[1]) + jnp.where(text, shift, 0)
    return jax.vmap(lambda row, places: row.at[places].set(row, unique_indices=True))(tokens, places)
