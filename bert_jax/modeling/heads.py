"""What reads the encoder's output: the masked-language-model head, the pooler, the pair head."""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.block import activate
from bert_jax.modeling.layers import Dense, LayerNorm, bind, in_parts


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
        x, shape = self.norm(activate(self.dense(hidden), self.activation)), hidden.shape[:-1]
        words = words.astype(x.dtype)
        if words.ndim == 2:
            logits = jnp.einsum("...d,vd->...v", x, words, preferred_element_type=jnp.float32)
        else:
            x = in_parts(x, len(words))
            logits = jnp.einsum("n...d,nvd->n...v", x, words, preferred_element_type=jnp.float32).reshape(*shape, -1)
        # Said of the bias, which is small: of the logits, it would be a pass over them, and one over their gradient.
        real = jnp.arange(self.bias.shape[0]) < self.vocab_size
        return logits + jnp.where(real, self.bias[...], jnp.finfo(jnp.float32).min)


class Pooler(Dense):
    """tanh of a dense layer over the row's first token."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        super().__init__((model.width, model.width), ("embed", None), model, rngs)


class PairHead(Dense):
    """Two logits for a pair of texts: next sentence, or sentence order."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        super().__init__((model.width, 2), ("embed", None), model, rngs)


def padded_mlm_logits(model: Model, params: dict, hidden: jax.Array) -> jax.Array:
    """hidden [..., D] → float32 [..., Vp]; the columns that pad the vocabulary are −inf in effect."""
    return bind(MlmHead, model, params["mlm_head"])(hidden, params["embeddings"]["word"]["embedding"])


def mlm_logits(model: Model, params: dict, hidden: jax.Array) -> jax.Array:
    """hidden [..., D] → float32 [..., V]."""
    return padded_mlm_logits(model, params, hidden)[..., : model.vocab_size]


def pool(model: Model, params: dict, hidden: jax.Array) -> jax.Array:
    """hidden [B, L, D] → [B, D]."""
    return jnp.tanh(bind(Pooler, model, params["pooler"])(hidden[:, 0]))


def pair_logits(model: Model, params: dict, pooled: jax.Array) -> jax.Array:
    """pooled [B, D] → float32 [B, 2]."""
    return bind(PairHead, model, params["pair_head"])(pooled).astype(jnp.float32)
