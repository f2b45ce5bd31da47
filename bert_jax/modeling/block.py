"""One layer of the encoder: attention and feed-forward, each with its residual and LayerNorm."""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.attention import Attention, Context
from bert_jax.modeling.layers import Dense, LayerNorm, dropout, split_key
from bert_jax.modeling.products import apart


class AttentionPart(Attention):
    """Attention with the LayerNorm that goes with it."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        super().__init__(model, rngs)
        self.norm = LayerNorm(model)


class Mlp(nnx.Module):
    """The feed-forward part with the LayerNorm that goes with it; gated units as Shazeer 2020 (arXiv 2002.05202)."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        self.up = Dense((model.width, model.mlp_width), ("embed", "mlp"), model, rngs)
        self.gate = Dense((model.width, model.mlp_width), ("embed", "mlp"), model, rngs) if model.gated else None
        self.down = Dense((model.mlp_width, model.width), ("mlp", "embed"), model, rngs)
        self.norm = LayerNorm(model)
        self.activation = model.activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, L, D] → [B, L, D]."""
        if self.gate is None:
            return self.down(activate(self.up(x), self.activation))
        return self.down(activate(self.gate(x), self.activation) * self.up(x))


class Block(nnx.Module):
    """post: x ← norm(x + f(x)), as in BERT; pre: x ← x + f(norm(x)). f is attention, then feed-forward.

    As in ModernBERT (Warner et al. 2024, arXiv 2412.13663), the first norm of a pre-LN encoder is that of the
    embeddings: x ← norm(x) there, and then x ← x + f(x).
    """

    def __init__(self, model: Model, rngs: nnx.Rngs):
        self.attention = AttentionPart(model, rngs)
        self.mlp = Mlp(model, rngs)
        self.pre = model.norm == "pre"
        self.rate = model.dropout

    def __call__(self, x: jax.Array, context: Context, key: jax.Array | None, first: jax.Array) -> jax.Array:
        """x [B, L, D] → [B, L, D], or [B, P, D] at the context's places; `first` is true in the first layer alone."""
        attention_key, *keys = split_key(key, 3)
        normed = self.attention.norm(x) if self.pre else x
        x = jnp.where(first, normed, x) if self.pre else x
        found = self.attention(normed, context, attention_key)
        x = self._add(context.at_places(x), found, self.attention.norm, keys[0])
        return self._add(x, self.mlp(self.mlp.norm(x) if self.pre else x), self.mlp.norm, keys[1])

    def _add(self, x: jax.Array, found: jax.Array, norm: LayerNorm, key: jax.Array | None) -> jax.Array:
        x = x + dropout(found, self.rate, key)
        return x if self.pre else norm(x)


def activate(x: jax.Array, name: str) -> jax.Array:
    """GELU by the error function, its tanh approximation or a sigmoid (Hendrycks and Gimpel 2016), or ReLU."""
    if name == "relu":
        return jax.nn.relu(x)
    if name == "silu":
        return jax.nn.silu(x)
    if name == "gelu_tanh":
        return gelu_tanh(x)
    return gelu(x)


# erfc(u) exp(u²) ≈ Σ c_k t^k with t = 1 / (1 + _NEAR u), least largest error of erfc over u ≥ 0: 8·10⁻⁹.
_NEAR = 0.39
_TAIL = (0.235325155, 0.0913888134, 0.649558404, -0.635399046, 0.886663611, -0.227536939)


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """x Φ(x), in float32, the result in x's dtype."""
    return (x * _normal(x)[0]).astype(x.dtype)


def _normal(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Φ(x) and exp(−x²/2), in float32: one exponential for both, where the error function costs another."""
    x = x.astype(jnp.float32)
    exponential = jnp.exp(-0.5 * x * x)
    t = 1 / (1 + _NEAR * 0.5**0.5 * jnp.abs(x))
    total = jnp.zeros_like(t)
    for c in reversed(_TAIL):
        total = total * t + c
    tail = 0.5 * exponential * t * total
    return jnp.where(x < 0, tail, 1 - tail), exponential


def _gelu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return gelu(x), x


def _gelu_backward(x: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    """Φ(x) + x φ(x), from x alone: JAX's own keeps the error function too, as a compiler would keep Φ(x)."""
    below, exponential = _normal(x := apart(x))
    return ((gradient * (below + x * exponential * (2 * jnp.pi) ** -0.5)).astype(x.dtype),)


gelu.defvjp(_gelu_forward, _gelu_backward)


@jax.custom_vjp
def gelu_tanh(x: jax.Array) -> jax.Array:
    """x (1 + tanh u) / 2 = x σ(2u) with u = √(2/π) (x + 0.044715 x³), in float32, the result in x's dtype."""
    return (x * _sigmoid(x)[0]).astype(x.dtype)


def _sigmoid(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """σ(2u) and its derivative by x, in float32; of e^(−2|u|), so that neither loses digits to a difference."""
    x = x.astype(jnp.float32)
    factor, cubic = 2 * (2 / jnp.pi) ** 0.5, 0.044715
    exponential = jnp.exp(-jnp.abs(factor * x * (1 + cubic * x * x)))
    above = 1 / (1 + exponential)
    below = exponential * above
    return jnp.where(x < 0, below, above), above * below * factor * (1 + 3 * cubic * x * x)


def _gelu_tanh_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return gelu_tanh(x), x


def _gelu_tanh_backward(x: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    """From x alone: JAX's own keeps the powers and the hyperbolic tangent too."""
    sigmoid, slope = _sigmoid(x := apart(x))
    return ((gradient * (sigmoid + x * slope)).astype(x.dtype),)


gelu_tanh.defvjp(_gelu_tanh_forward, _gelu_tanh_backward)
