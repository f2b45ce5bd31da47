"""Learned absolute positions, added to the embeddings (Devlin et al. 2018, section 3)."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.layers import truncated_normal
from bert_jax.positions import Positions


def build(*, sinusoidal_init: bool = False) -> type[Positions]:
    """The scheme.

    Args:
      sinusoidal_init: start the table at the sines and cosines of Vaswani et al. 2017 (section 3.5), scaled to
        `init_std`, instead of at random; it is trained all the same. Short runs find neighbours sooner.
    """
    return functools.partial(Absolute, sinusoidal_init=sinusoidal_init)  # type: ignore[return-value]


class Absolute(Positions):
    """One learned vector for each position below `max_length`."""

    def __init__(self, model: Model, rngs: nnx.Rngs, sinusoidal_init: bool = False):
        if sinusoidal_init:
            table = model.init_std * 2**0.5 * sinusoids(jnp.arange(model.max_length), model.width)
        else:
            table = truncated_normal(rngs.params(), (model.max_length, model.width), model.init_std)
        self.embedding = nnx.Param(table, axes=(None, "embed"))

    def embed(self, positions: jax.Array) -> jax.Array:
        return self.embedding[...][positions]


def sinusoids(positions: jax.Array, size: int) -> jax.Array:
    """positions [...] → [..., size]: column 2m is sin(p w_m), column 2m+1 cos(p w_m), with w_m = 10000^(−2m/size)."""
    pairs = jnp.arange((size + 1) // 2, dtype=jnp.float32)
    angles = positions[..., None].astype(jnp.float32) * 10000.0 ** (-2.0 * pairs / size)
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], -1).reshape(*positions.shape, -1)[..., :size]
