"""One vector for each example of a row.

- "cls": the last layer's [CLS] through the pooler (Devlin et al. 2018).
- "mean", "max": of the last layer's states, over all tokens.
- "last_four": the mean of the last four layers' [CLS] (Sun et al. 2019, arXiv 1905.05583, section 5.3.2).
- "learned_layers": every layer's [CLS], mixed by weights that are learnt (Peters et al. 2018, ELMo).
- "compared", of a pair: each text is read by itself, and of the means u and v of its tokens stand u, v, |u − v| and
  u ∘ v side by side (Conneau et al. 2017, arXiv 1705.02364, section 3). A small encoder learns from few examples what
  two texts have in common this way, and not by reading both at once.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.embedding.pooling import make, vectors, vectors_of_texts
from bert_jax.modeling.bert import encode
from bert_jax.modeling.heads import layer_mix, pooler
from configuration.variants import require

Pooling = Literal["cls", "mean", "max", "last_four", "learned_layers"]
PairPooling = Literal[Pooling, "compared"]
Batch = dict[str, jax.Array]
HEADS = {"cls": "pooler", "learned_layers": "layer_mix"}  # what a pooling trains beside the encoder
FOUR = 4
COMPARED = "compared"
VECTORS = {COMPARED: 4}  # of width D, side by side, in the vector of a pooling that has more than one
NEEDS = {COMPARED: ("text_numbers", "text_positions")}  # fields of a batch that a pooling reads beside the usual


def pooling_heads(model: Model, pooling: PairPooling) -> list[str]:
    """The parts that the pooling trains beside the encoder.

    Raises:
      ConfigError: the encoder has fewer layers than are read.
    """
    enough = pooling != "last_four" or model.layers >= FOUR
    require(enough, "task.pooling", pooling, f"another for an encoder of {model.layers} layers: it reads {FOUR}")
    return [HEADS[pooling]] if pooling in HEADS else []


def check_compared(pooling: PairPooling, second: str, truncation: str) -> None:
    """Raises ConfigError where texts are to be compared that are no pair, or are not cut to their heads."""
    if pooling == COMPARED:
        require(bool(second), "task.second", second, f"the column of the text that pooling={COMPARED} compares with")
        require(truncation == "head", "task.truncation", truncation, f"head with pooling={COMPARED}")


def pooled(model: Model, params: Any, batch: Batch, pooling: PairPooling, key: jax.Array | None) -> jax.Array:
    """[B, E, D] of the examples, or [B, E, 4 D]; for "cls" the last layer computes those positions alone."""
    if pooling == COMPARED:
        return compared(model, params, batch, key)
    if pooling == "cls":
        return pooler.transform(model, params, encode(model, params, batch, key, batch["places"]))
    if pooling in ("last_four", "learned_layers"):
        states = encode(model, params, batch, key, every_layer=True)  # [n, B, L, D]
        firsts = jnp.take_along_axis(states, batch["places"][None, :, :, None], axis=2)  # [n, B, E, D]
        return firsts[-FOUR:].mean(0) if pooling == "last_four" else layer_mix.mixed(model, params, firsts)
    return vectors(model, make(pooling, model), params, batch, batch["places"].shape[1], key)


def compared(model: Model, params: Any, batch: Batch, key: jax.Array | None) -> jax.Array:
    """[B, E, 4 D] of examples of two texts."""
    both = vectors_of_texts(model, make("mean", model), params, batch, 2, key)
    u, v = both[:, :, 0], both[:, :, 1]
    return jnp.concatenate([u, v, jnp.abs(u - v), u * v], axis=-1)
