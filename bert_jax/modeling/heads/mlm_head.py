"""The masked-language-model head (Devlin et al. 2018, section 3.1)."""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.block import activate
from bert_jax.modeling.layers import Dense, LayerNorm, bind
from bert_jax.modeling.parts import Part, of_module
from bert_jax.modeling.products import dot, over_rows


def build(model: Model) -> Part:
    """The head; it has no options."""
    return of_module(MlmHead, model)


class MlmHead(nnx.Module):
    """Dense from D to E, activation, LayerNorm, then the word embeddings as output weights, with a bias."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        self.dense = Dense((model.width, model.table_width), ("embed", None), model, rngs)
        self.norm = LayerNorm(model, model.table_width)
        self.bias = nnx.Param(jnp.zeros(model.padded_vocab_size), axes=("vocab",))
        self.activation, self.vocab_size = model.activation, model.vocab_size

    def __call__(self, hidden: jax.Array, words: jax.Array) -> jax.Array:
        """hidden [B, ..., D], words [Vp, E] or those of each part of the batch, [n, Vp, E] → float32 [B, ..., Vp].

        The columns that pad the vocabulary are −inf in effect.
        """
        x = self.norm(activate(self.dense(hidden), self.activation))
        return tied_logits(x, words, self.bias[...], self.vocab_size)


def tied_logits(x: jax.Array, words: jax.Array, bias: jax.Array, vocab_size: int) -> jax.Array:
    """x [B, ..., E], words as `MlmHead` takes them, bias [Vp] → float32 [B, ..., Vp], padded as there."""
    words = words.astype(x.dtype).reshape(-1, *words.shape[-2:])
    real = jnp.arange(len(bias)) < vocab_size
    bias = jnp.where(real, bias, jnp.finfo(jnp.float32).min)  # so that no pass over the logits says it
    logits = project(x.reshape(len(words), -1, x.shape[-1]), words, bias)
    return logits.reshape(*x.shape[:-1], -1)


@jax.custom_vjp
def project(x: jax.Array, words: jax.Array, bias: jax.Array) -> jax.Array:
    """x [n, P, E], words [n, Vp, E], bias [Vp] → float32 [n, P, Vp]: x · wordsᵀ + bias."""
    return jnp.einsum("npd,nvd->npv", x, words, preferred_element_type=jnp.float32) + bias


def _forward(x: jax.Array, words: jax.Array, bias: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return project(x, words, bias), (x, words)


def _backward(residuals: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """JAX's own would have XLA write the logits' gradient twice, once transposed; and its sum over the places, as a
    reduction, takes XLA's CPU compiler thirty times as long as a product with ones."""
    x, words = residuals
    g = gradient.astype(x.dtype)
    of_x = jax.vmap(lambda g, words: dot(g, words, (1,), (0,)))(g, words)
    of_words = jax.vmap(over_rows)(x, g).swapaxes(1, 2)
    of_bias = jax.lax.platform_dependent(
        gradient.reshape(-1, gradient.shape[-1]),
        cpu=lambda g: jnp.ones(len(g), g.dtype) @ g,
        default=lambda g: g.sum(0),
    )
    return of_x, of_words, of_bias


project.defvjp(_forward, _backward)


def padded_logits(model: Model, params: dict, hidden: jax.Array) -> jax.Array:
    """hidden [..., D] → float32 [..., Vp]; the columns that pad the vocabulary are −inf in effect."""
    return bind(MlmHead, model, params["mlm_head"])(hidden, params["embeddings"]["word"]["embedding"])


def logits(model: Model, params: dict, hidden: jax.Array) -> jax.Array:
    """hidden [..., D] → float32 [..., V]."""
    return padded_logits(model, params, hidden)[..., : model.vocab_size]
