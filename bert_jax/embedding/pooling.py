"""From hidden states to one vector a text: of each document of packed rows, or of each row."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling import bert
from configuration.variants import ConfigError, nearest

Pool = Callable[[jax.Array, jax.Array], jax.Array]  # hidden [B, L, D], members bool [B, K, L] → [B, K, D]
FIRST_LAST = "first_last"


class Pooling(NamedTuple):
    """Which hidden states make a text's vector, and how."""

    modes: tuple[str, ...] = ("mean",)  # of MODES; the vectors of several stand side by side
    layer_weights: tuple[float, ...] = ()  # n, of the states after each layer, first to last; none for the last layer's


def make(name: str, model: Model, layer_weights: tuple[float, ...] = ()) -> Pooling:
    """The pooling by name: one of MODES, several joined by "+", or "first_last".

    "first_last" is the mean over the average of the first layer's and the last layer's states (Su et al. 2021, arXiv
    2103.15316, section 4; the first layer's output, not the embeddings).

    Args:
      layer_weights: of the states after each layer, divided by their sum; empty for the last layer's alone.

    Raises:
      ConfigError: an unknown name, or another number of weights than the encoder has layers.
    """
    if name == FIRST_LAST:
        ends = (0, model.layers - 1)
        return Pooling(("mean",), tuple(0.5 * ends.count(i) for i in range(model.layers)))
    modes = tuple(name.split("+"))
    for mode in modes:
        if mode not in MODES:
            raise ConfigError(f"pooling is {name!r}; there is no {mode!r}{nearest(mode, [*MODES, FIRST_LAST])}")
    if layer_weights and (len(layer_weights) != model.layers or not sum(layer_weights)):
        raise ConfigError(
            f"layer_weights is {layer_weights}; give one number for each of the {model.layers} layers, not all zero"
        )
    return Pooling(modes, tuple(weight / sum(layer_weights) for weight in layer_weights))


def vectors(
    model: Model,
    pooling: Pooling,
    params: dict,
    batch: dict[str, jax.Array],
    documents: int = 1,
    key: jax.Array | None = None,
) -> jax.Array:
    """The vectors of a batch's texts.

    Args:
      batch: as `bert.encode` takes it; `segments` number the texts of a row from 1.
      documents: K, the most texts of a row.
      key: of dropout; None for none.

    Returns:
      float32 [B, K, D], or [B, K, modes · D]; zeros where a row has fewer texts.
    """
    members = members_of(batch["segments"], documents)
    if pooling.layer_weights:
        weights = jnp.asarray(pooling.layer_weights)
        states = bert.encode(model, params, batch, key, every_layer=True)
        hidden = jnp.tensordot(weights, states.astype(jnp.float32), 1, precision="highest")
    elif pooling.modes == ("cls",):
        first = bert.encode(model, params, batch, key, members.argmax(-1).astype(jnp.int32)).astype(jnp.float32)
        return jnp.where(members.any(-1)[..., None], first, 0)
    else:
        hidden = bert.encode(model, params, batch, key)
    return pool(pooling, hidden, members)


def vectors_of_texts(
    model: Model, pooling: Pooling, params: dict, batch: dict[str, jax.Array], texts: int, key: jax.Array | None = None
) -> jax.Array:
    """The vectors of rows of examples of T texts each, every text read by itself: float32 [B, E, T, D]."""
    examples = batch["places"].shape[1]
    found = vectors(model, pooling, params, one_text_a_document(batch, texts), examples * texts, key)
    return found.reshape(len(found), examples, texts, -1)


def one_text_a_document(batch: dict[str, jax.Array], texts: int) -> dict[str, jax.Array]:
    """A batch whose documents are examples of T texts → one whose documents are the texts, in their order.

    Args:
      batch: of each token `text_numbers`, which text of its example it is in, and `text_positions`, where in the text.
    """
    segments = (batch["segments"] - 1) * texts + batch["text_numbers"] + 1
    own = {"segments": jnp.where(batch["segments"] > 0, segments, 0), "positions": batch["text_positions"]}
    return batch | own


def example_vectors(
    model: Model, pooling: Pooling, params: dict, batch: dict[str, jax.Array], key: jax.Array | None = None
) -> jax.Array:
    """The vectors of examples of T texts each: fields [B, T, L] → float32 [B, T, D].

    Each text is a row of its own, so that the same text twice gets different dropout (SimCSE).
    """
    fields = ("tokens", "segments", "positions", "token_types")
    size, texts, length = batch["tokens"].shape
    rows = {name: batch[name].reshape(size * texts, length) for name in fields}
    return vectors(model, pooling, params, rows, 1, key).reshape(size, texts, -1)


def members_of(segments: jax.Array, documents: int = 1) -> jax.Array:
    """segments int [B, L] → bool [B, K, L]: the tokens of each document."""
    return segments[:, None, :] == jnp.arange(1, documents + 1)[None, :, None]


def pool(pooling: Pooling, hidden: jax.Array, members: jax.Array) -> jax.Array:
    """hidden [B, L, D] and each document's tokens, bool [B, K, L] → float32 [B, K, modes · D]; zeros where none."""
    hidden = hidden.astype(jnp.float32)
    pooled = jnp.concatenate([MODES[mode](hidden, members) for mode in pooling.modes], axis=-1)
    return jnp.where(members.any(-1)[..., None], pooled, 0)


def first(hidden: jax.Array, members: jax.Array) -> jax.Array:
    """The first token's state, [CLS]'s."""
    return _at(hidden, members.argmax(-1))


def last(hidden: jax.Array, members: jax.Array) -> jax.Array:
    """The last token's state."""
    return _at(hidden, members.shape[-1] - 1 - members[..., ::-1].argmax(-1))


def mean(hidden: jax.Array, members: jax.Array) -> jax.Array:
    """The mean over all tokens, [CLS] and [SEP] included."""
    return _weighted(hidden, members, 1.0)


def mean_sqrt(hidden: jax.Array, members: jax.Array) -> jax.Array:
    """The sum over all tokens, divided by the square root of their number."""
    return _weighted(hidden, members, 0.5)


def weighted_mean(hidden: jax.Array, members: jax.Array) -> jax.Array:
    """The mean with weights 1, 2, 3, … of the tokens in order (Muennighoff 2022, arXiv 2202.08904, section 3.1)."""
    return _weighted(hidden, members * jnp.cumsum(members, -1), 1.0)


def largest(hidden: jax.Array, members: jax.Array) -> jax.Array:
    """The elementwise maximum over all tokens."""
    documents = members.shape[1]
    number = jnp.where(members.any(1), members.argmax(1), documents)
    of_row = lambda hidden, number: jax.ops.segment_max(hidden, number, documents + 1)[:documents]
    found = jax.vmap(of_row)(hidden, number)
    return jnp.where(jnp.isfinite(found), found, 0)


MODES: dict[str, Pool] = {
    "cls": first,
    "mean": mean,
    "max": largest,
    "mean_sqrt": mean_sqrt,
    "weighted_mean": weighted_mean,
    "last": last,
}


def normalise(x: jax.Array) -> jax.Array:
    """x [..., D] at length 1; zeros stay zeros."""
    square = jnp.square(x).sum(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, 1e-24))


def _at(hidden: jax.Array, places: jax.Array) -> jax.Array:
    return jnp.take_along_axis(hidden, places[..., None], axis=1)


def _weighted(hidden: jax.Array, weights: Any, power: float) -> jax.Array:
    """The weighted sum over tokens, divided by the weights' own sum to some power."""
    weights = weights.astype(jnp.float32)
    total = jnp.maximum(weights.sum(-1, keepdims=True), 1)
    return jnp.einsum("bkl,bld->bkd", weights, hidden, precision="highest") / total**power
