"""Masked language modelling of spans, and of their tokens from the boundaries (SpanBERT, Joshi et al. 2019).

The span boundary objective (arXiv 1907.10529, section 3.2) predicts each token of a span from the encoder's outputs
just before and just after the span and from where in the span the token stands. Its mean loss is added to that of
masked language modelling. A span that begins or ends its text has no boundary there and is left out, as in the code.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling import heads
from bert_jax.modeling.bert import encode
from bert_jax.modeling.block import gelu
from bert_jax.modeling.heads import mlm_head
from bert_jax.modeling.layers import Dense, LayerNorm, bind, truncated_normal
from bert_jax.modeling.parts import Parts, of_module
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, mlm, normalized
from bert_jax.objectives._cross_entropy import cross_entropy
from configuration.variants import ConfigError, Variant, use

_POSITION_WIDTH = 200  # section 4.2


class BoundaryHead(nnx.Module):
    """Two layers of dense, GELU and LayerNorm, from 2D + 200 to D to E; then the word embeddings, with a bias."""

    def __init__(self, model: Model, rngs: nnx.Rngs, longest: int):
        table = truncated_normal(rngs.params(), (longest, _POSITION_WIDTH), model.init_std)
        self.positions = nnx.Param(table, axes=(None, None))
        self.first = Dense((2 * model.width + _POSITION_WIDTH, model.width), (None, "embed"), model, rngs)
        self.first_norm = LayerNorm(model)
        self.second = Dense((model.width, model.table_width), ("embed", None), model, rngs)
        self.second_norm = LayerNorm(model, model.table_width)
        self.bias = nnx.Param(jnp.zeros(model.padded_vocab_size), axes=("vocab",))
        self.vocab_size = model.vocab_size

    def __call__(self, left: jax.Array, right: jax.Array, offsets: jax.Array, words: jax.Array) -> jax.Array:
        """left and right [B, P, D], offsets int [B, P], words as in `MlmHead` → float32 [B, P, Vp]."""
        x = jnp.concatenate([left, right, self.positions[...][offsets].astype(left.dtype)], axis=-1)
        x = self.first_norm(gelu(self.first(x)))
        x = self.second_norm(gelu(self.second(x)))
        return mlm_head.tied_logits(x, words, self.bias[...], self.vocab_size)


def parts(model: Model, *, longest: int = 15) -> Parts:
    """The masked-language-model head, and that of the boundaries."""
    head = of_module(functools.partial(BoundaryHead, longest=longest), model)
    return {**heads.parts(model, "mlm_head"), "span_boundary": head}


def build(
    model: Model,
    vocabulary: Vocabulary,
    *,
    mask_rate: float | Variant = 0.15,
    masking: Variant = use("spans"),
    replacement: Variant = use("per_unit"),
    longest: int = 15,
    boundary_weight: float = 1.0,
) -> Objective:
    """The objective.

    Args:
      mask_rate, masking, replacement: as in mlm.py.
      longest: number of first tokens of a span that are predicted from its boundaries.
      boundary_weight: of the boundaries' mean loss beside the tokens'.
    """
    if longest < 1:
        raise ConfigError(f"config.objective.longest is {longest}; it must be at least 1 token")
    alone = mlm.build(model, vocabulary, mask_rate=mask_rate, masking=masking, replacement=replacement)

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        """As mlm.py's; adds boundaries (int [B, 2P], left ones first), offsets (int [B, P]) and boundary_weights."""
        corrupted = alone.corrupt(batch, key)
        left, right = boundaries(corrupted["target_positions"], corrupted["target_weights"] > 0)
        offsets = corrupted["target_positions"] - left - 1
        text = mlm.is_text(jnp.asarray(batch["tokens"], jnp.int32), batch["segments"], vocabulary)
        text_at = lambda places: jnp.take_along_axis(text, places, axis=1)
        predicted = (corrupted["target_weights"] > 0) & (offsets < longest) & text_at(left) & text_at(right)
        return corrupted | {
            "boundaries": jnp.concatenate([left, right], axis=1),
            "offsets": jnp.clip(offsets, 0, longest - 1),
            "boundary_weights": normalized(predicted.astype(jnp.float32)),
        }

    def loss(params: dict, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        """As mlm.py's plus that of the boundaries, and boundary_loss and boundary_accuracy."""
        del constants
        places = jnp.concatenate([batch["target_positions"], batch["boundaries"]], axis=1)
        hidden, left, right = jnp.split(encode(model, params, batch, key, places), 3, axis=1)
        logits = mlm_head.padded_logits(model, params, hidden)
        token_loss, accuracy = cross_entropy(logits, batch["targets"], batch["target_weights"])
        head = bind(functools.partial(BoundaryHead, longest=longest), model, params["span_boundary"])
        logits = head(left, right, batch["offsets"], params["embeddings"]["word"]["embedding"])
        boundary_loss, right_ones = cross_entropy(logits, batch["targets"], batch["boundary_weights"])
        metrics = {"accuracy": accuracy, "boundary_loss": boundary_loss, "boundary_accuracy": right_ones}
        return token_loss + boundary_weight * boundary_loss, metrics

    return Objective(corrupt, loss, alone.needs)


def boundaries(places: jax.Array, used: jax.Array) -> tuple[jax.Array, jax.Array]:
    """int [B, P]: the positions just before and just after the run of each predicted position.

    Args:
      places: int [B, P] of the predicted tokens, from left to right where `used`.
    """
    slots = jnp.arange(places.shape[1])
    follows = used[:, 1:] & (places[:, 1:] == places[:, :-1] + 1)
    opens = jnp.pad(~follows, ((0, 0), (1, 0)), constant_values=True)
    closes = jnp.pad(~follows, ((0, 0), (0, 1)), constant_values=True)
    first = jax.lax.cummax(jnp.where(opens, slots, 0), axis=1)
    last = jax.lax.cummin(jnp.where(closes, slots, len(slots) - 1), axis=1, reverse=True)
    left = jnp.take_along_axis(places, first, axis=1) - 1
    right = jnp.take_along_axis(places, last, axis=1) + 1
    return jnp.where(used, left, 0), jnp.where(used, right, 0)
