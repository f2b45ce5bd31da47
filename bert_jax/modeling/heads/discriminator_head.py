"""One logit per token: whether it was replaced (ELECTRA, Clark et al. 2020, section 3.1; ElectraForPreTraining)."""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.block import activate
from bert_jax.modeling.layers import Dense, bind
from bert_jax.modeling.parts import Part, of_module


def build(model: Model) -> Part:
    """The head; it has no options."""
    return of_module(DiscriminatorHead, model)


class DiscriminatorHead(nnx.Module):
    """Dense from D to D, activation, dense to one number."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        self.dense = Dense((model.width, model.width), ("embed", None), model, rngs)
        self.output = Dense((model.width, 1), ("embed", None), model, rngs)
        self.activation = model.activation

    def __call__(self, hidden: jax.Array) -> jax.Array:
        """hidden [..., D] → float32 [...]."""
        return self.output(activate(self.dense(hidden), self.activation))[..., 0].astype(jnp.float32)


def logits(model: Model, params: dict, hidden: jax.Array) -> jax.Array:
    """hidden [..., D] → float32 [...]; above 0: replaced."""
    return bind(DiscriminatorHead, model, params["discriminator_head"])(hidden)
