"""The small masked language model whose guesses the encoder reads (ELECTRA, Clark et al. 2020, sections 2 and 3.1).

It has the encoder's embeddings (word, position, token type and their LayerNorm), and its own layers, head and, where
its width is not that of the tables, projection.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling import heads
from bert_jax.modeling.bert import Embeddings, encode, encoder_parts
from bert_jax.modeling.heads import mlm_head
from bert_jax.modeling.parts import Part, of_module, together
from bert_jax.objectives import Batch
from bert_jax.objectives._cross_entropy import cross_entropy
from configuration.variants import ConfigError

BLOCK = 128  # pieces drawn from at once; the padded vocabulary is a multiple


class Guesses(NamedTuple):
    """What the generator makes of a batch."""

    batch: Batch  # with its guesses among the tokens, and `replaced` (bool [B, L]): which of them are wrong
    loss: jax.Array  # the weighted sum of its −log p(target)
    accuracy: jax.Array


def generator_model(model: Model, size: float, layers: int) -> Model:
    """The generator's sizes.

    Args:
      size: its width, heads and feed-forward units as a share of the encoder's, rounded.
      layers: 0 for as many as the encoder has.

    Raises:
      ConfigError: no such encoder.
    """
    if not 0 < size <= 1:
        raise ConfigError(f"config.objective.generator_size is {size}; it must be a share above 0, at most 1")
    scaled = lambda number: max(1, round(size * number))
    width, table = scaled(model.width), model.table_width
    try:
        return dataclasses.replace(
            model,
            layers=layers or model.layers,
            width=width,
            heads=scaled(model.heads),
            mlp_width=scaled(model.mlp_width),
            embedding_width=0 if width == table else table,
        )
    except ConfigError as error:
        wanted = f"config.objective.generator_size={size} and generator_layers={layers}"
        raise ConfigError(f"{wanted} give a generator that cannot be: {error}") from None


def part(generator: Model) -> Part:
    """What the generator does not share: its layers, its head and, where there is one, its projection."""
    parts = {name: part for name, part in encoder_parts(generator).items() if name != "embeddings"}
    if generator.embedding_width:
        embeddings = of_module(Embeddings, generator)
        of = "projection"
        parts[of] = Part(lambda key: embeddings.init(key)[of], lambda: embeddings.axes()[of])
    return together({**parts, **heads.parts(generator, "mlm_head")})


def parameters(params: dict) -> dict:
    """All parameters of the generator, laid out as those of any encoder with a masked-language-model head."""
    own = params["generator"]
    shared = {name: table for name, table in params["embeddings"].items() if name != "projection"}
    embeddings = shared | ({"projection": own["projection"]} if "projection" in own else {})
    return {"embeddings": embeddings} | {name: part for name, part in own.items() if name != "projection"}


def row_keys(key: jax.Array, rows: int) -> jax.Array:
    """uint32 [B, 2]: random keys that depend on `key` and the row's number in the global batch alone."""
    fold = jax.vmap(jax.random.fold_in, (None, 0))
    return jax.random.key_data(fold(key, jnp.arange(rows)))


def guess(generator: Model, params: dict, batch: Batch, key: jax.Array | None) -> Guesses:
    """The generator's loss, and the batch with its guesses at the predicted positions.

    Args:
      params: of the whole model.
      batch: as `mlm.drawing` corrupts it, with `sample_keys` as `row_keys` gives them.
      key: of dropout, or None.
    """
    own = parameters(params)
    places, targets, predicted = batch["target_positions"], batch["targets"], batch["target_weights"] > 0
    logits = mlm_head.padded_logits(generator, own, encode(generator, own, batch, key, places))
    loss, accuracy = cross_entropy(logits, targets, batch["target_weights"])
    guesses = jnp.where(predicted, sample(logits, batch["sample_keys"]), targets)
    tokens = put(batch["tokens"], places, guesses)
    replaced = put(jnp.zeros(tokens.shape, bool), places, guesses != targets)
    return Guesses(batch | {"tokens": tokens, "replaced": replaced}, loss, accuracy)


def put(rows: jax.Array, places: jax.Array, new: jax.Array) -> jax.Array:
    """rows [B, L] with `new` [B, P] at the positions [B, P], all different within a row."""
    return jax.vmap(lambda row, places, new: row.at[places].set(new, unique_indices=True))(rows, places, new)


def sample(logits: jax.Array, keys: jax.Array) -> jax.Array:
    """logits [B, P, V], keys [B, 2] → int32 [B, P], drawn from the softmax; no gradient passes.

    A block of the vocabulary is drawn first, then a piece of it: that takes V / BLOCK + BLOCK random numbers per
    place, where drawing from all pieces takes V.
    """
    return jax.vmap(sample_row)(jax.lax.stop_gradient(logits), jax.random.wrap_key_data(keys))


def sample_row(logits: jax.Array, key: jax.Array) -> jax.Array:
    """logits [P, V] → int32 [P]"""
    padded = jnp.pad(logits, ((0, 0), (0, -logits.shape[1] % BLOCK)), constant_values=-jnp.inf)
    blocks = padded.reshape(len(logits), -1, BLOCK)
    block_key, piece_key = jax.random.split(key)
    block = jax.random.categorical(block_key, jax.nn.logsumexp(blocks, axis=-1))
    pieces = jnp.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0]
    return block * BLOCK + jax.random.categorical(piece_key, pieces)
