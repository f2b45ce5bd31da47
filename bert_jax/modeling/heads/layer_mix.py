"""The states after every layer as one, mixed by learnt weights (Peters et al. 2018, ELMo, arXiv 1802.05365, eq. 1)."""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.layers import bind
from bert_jax.modeling.parts import Part, of_module


def build(model: Model) -> Part:
    """The weights of the layers; it has no options."""
    return of_module(LayerMix, model)


class LayerMix(nnx.Module):
    """A softmax over the layers, which starts equal, and a scale of the whole, which starts at 1."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        del rngs
        self.weights = nnx.Param(jnp.zeros(model.layers), axes=(None,))
        self.scale = nnx.Param(jnp.ones(1), axes=(None,))

    def __call__(self, states: jax.Array) -> jax.Array:
        """states [n, ..., D] → [..., D]."""
        shares = self.scale[...] * jax.nn.softmax(self.weights[...])
        return jnp.tensordot(shares.astype(states.dtype), states, 1)


def mixed(model: Model, params: dict, states: jax.Array) -> jax.Array:
    """states [n, ..., D] of every layer → [..., D]."""
    return bind(LayerMix, model, params["layer_mix"])(states)
