"""An objective with all that one can have: a second stack, a frozen teacher, two terms of loss, its own batch field."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling import heads
from bert_jax.modeling.bert import encode
from bert_jax.modeling.layers import Dense, bind
from bert_jax.modeling.parts import Parts, of_module, stack, together
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, mlm, normalized


class Layer(nnx.Module):
    """x + tanh(x W + b), D to D."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        self.dense = Dense((model.width, model.width), (None, "embed"), model, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + jnp.tanh(self.dense(x))


class Temper(nnx.Module):
    """One number that scales the second stack's output; no decay, no trust ratio."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        self.temperature = nnx.Param(jnp.ones(1), axes=(None,))


def parts(model: Model, *, layers: int = 2) -> Parts:
    """The masked-language-model head, and the second stack with its temperature."""
    second = {"layers": stack(of_module(Layer, model), layers), "temper": of_module(Temper, model)}
    return {**heads.parts(model, "mlm_head"), "second": together(second)}


def exported(model: Model) -> dict[str, str]:
    """The second stack's names in PyTorch's layout."""
    layer = "second.layer.{layer}.dense"
    return {
        "second/layers/dense/kernel": f"{layer}.weight",
        "second/layers/dense/bias": f"{layer}.bias",
        "second/temper/temperature": "second.temperature",
    }


def build(model: Model, vocabulary: Vocabulary, *, layers: int = 2, weight: float = 0.5) -> Objective:
    """Masked language modelling, and a second stack that learns a teacher's vector of each token."""
    del layers
    tokens = mlm.build(model, vocabulary)

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        shown = {"importance": normalized(batch["importance"] * (batch["segments"] > 0)), "read": batch["tokens"]}
        return tokens.corrupt(batch, key) | shown

    def loss(params: dict, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        token_loss, metrics = tokens.loss(params, (), batch, key)
        x = encode(model, params, batch, key)
        step = lambda x, layer: (bind(Layer, model, layer)(x), None)
        x, _ = jax.lax.scan(step, x, params["second"]["layers"])
        x = x * params["second"]["temper"]["temperature"]
        distance = jnp.square(x.astype(jnp.float32) - constants[batch["read"].astype(jnp.int32)]).mean(-1)
        taught = (distance * batch["importance"]).sum()
        return token_loss + weight * taught, metrics | {"taught": taught}

    teacher = jax.random.normal(jax.random.key(7), (vocabulary.size, model.width))
    return Objective(corrupt, loss, ("importance",), teacher)
