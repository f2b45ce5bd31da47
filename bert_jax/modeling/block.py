"""One layer of the encoder: attention and feed-forward, each with its residual and LayerNorm."""

from typing import Any

import jax
from flax import nnx

from bert_jax.config import Model
from bert_jax.kernels import Kernel
from bert_jax.modeling.attention import Attention
from bert_jax.modeling.layers import Dense, LayerNorm, dropout, split_key
from bert_jax.positions import Positions


class AttentionPart(Attention):
    """Attention with the LayerNorm that goes with it."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        super().__init__(model, rngs)
        self.norm = LayerNorm(model)


class Mlp(nnx.Module):
    """The feed-forward part with the LayerNorm that goes with it."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        self.up = Dense((model.width, model.mlp_width), ("embed", "mlp"), model, rngs)
        self.down = Dense((model.mlp_width, model.width), ("mlp", "embed"), model, rngs)
        self.norm = LayerNorm(model)
        self.activation = model.activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, L, D] → [B, L, D]."""
        return self.down(activate(self.up(x), self.activation))


class Block(nnx.Module):
    """post: x ← norm(x + f(x)), as in BERT; pre: x ← x + f(norm(x)). f is attention, then feed-forward."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        self.attention = AttentionPart(model, rngs)
        self.mlp = Mlp(model, rngs)
        self.pre = model.norm == "pre"
        self.rate = model.dropout

    def __call__(
        self,
        x: jax.Array,
        segments: jax.Array,
        scheme: Positions,
        tables: Any,
        kernel: Kernel,
        key: jax.Array | None,
    ) -> jax.Array:
        """x [B, L, D], segments [B, L] → [B, L, D]."""
        keys = split_key(key, 3)
        attention = lambda y: self.attention(y, segments, scheme, tables, kernel, keys[0])
        x = self._residual(x, attention, self.attention.norm, keys[1])
        return self._residual(x, self.mlp, self.mlp.norm, keys[2])

    def _residual(self, x: jax.Array, f: Any, norm: LayerNorm, key: jax.Array | None) -> jax.Array:
        if self.pre:
            return x + dropout(f(norm(x)), self.rate, key)
        return norm(x + dropout(f(x), self.rate, key))


def activate(x: jax.Array, name: str) -> jax.Array:
    """GELU by the error function, or by its tanh approximation (Hendrycks and Gimpel 2016)."""
    return jax.nn.gelu(x, approximate=name == "gelu_tanh")
