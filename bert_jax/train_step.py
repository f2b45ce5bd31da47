"""Pure functions (state, batch) → (state, metrics), for training and for evaluation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bert_jax import sharding
from bert_jax.config import Config, Phase
from bert_jax.objectives import Batch, Objective
from bert_jax.train_state import State, abstract_state, learning_rate, make_optimizer

Metrics = dict[str, jax.Array]
CORRUPTION, DROPOUT = 0, 1  # streams of the run's random key


def jit_train_step(config: Config, phase: Phase, objective: Objective, mesh: jax.sharding.Mesh) -> Any:
    """The phase's update, compiled once: the state comes out laid out as it went in, and is donated."""
    train_step = sharding.on_mesh(mesh, make_train_step(config, phase, objective))
    laid_out = jax.tree.map(lambda x: x.sharding, abstract_state(config, mesh))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return jax.jit(train_step, donate_argnums=0, out_shardings=(laid_out, everywhere))


def make_train_step(
    config: Config, phase: Phase, objective: Objective
) -> Callable[[State, Batch], tuple[State, Metrics]]:
    """The update of one phase. Random draws depend on (seed, step, row of the global batch) alone."""
    optimizer, rate = make_optimizer(config), learning_rate(config)

    def train_step(state: State, batch: Batch) -> tuple[State, Metrics]:
        key = jax.random.fold_in(jax.random.key(config.seed + 1), state["step"])
        corrupted = objective.corrupt(batch, jax.random.fold_in(key, CORRUPTION))
        gradients, sums = accumulate(
            objective, state["params"], corrupted, jax.random.fold_in(key, DROPOUT), phase.microbatches
        )
        weight = jnp.maximum(sums["weight"], 1)
        gradients = jax.tree.map(lambda g: g / weight, gradients)
        gradients, norm = clip(gradients, config.clip_norm)
        updates, opt_state = optimizer.update(gradients, state["opt_state"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        metrics = {
            "loss": sums["loss"] / weight,
            "accuracy": sums["correct"] / weight,
            "learning_rate": jnp.asarray(rate(state["step"]), jnp.float32),
            "gradient_norm": norm,
            "tokens": (batch["segments"] > 0).sum(),
        }
        return {"step": state["step"] + 1, "params": params, "opt_state": opt_state}, metrics

    return train_step


def accumulate(objective: Objective, params: Any, batch: Batch, key: jax.Array, parts: int) -> tuple[Any, Metrics]:
    """Gradients of the summed loss, and the sums, over `parts` microbatches one after the other.

    Sums are divided by the whole batch's weight afterwards, so that the parts equal one big batch to rounding.
    """

    def summed(params: Any, part: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
        loss, weight, metrics = objective.loss(params, part, key)
        return loss, {"loss": loss, "weight": weight, **metrics}

    gradient = jax.grad(summed, has_aux=True)
    if parts == 1:
        return gradient(params, batch, key)

    def add(total: Any, inputs: tuple[Batch, jax.Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradient(params, *inputs)), None

    # Row r goes to part r mod `parts`: each device keeps its own rows.
    split = {name: jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0) for name, x in batch.items()}
    inputs = (split, jax.random.split(key, parts))
    shapes = jax.eval_shape(gradient, params, *jax.tree.map(lambda x: x[0], inputs))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(add, zeros, inputs)[0]


def clip(gradients: Any, limit: float) -> tuple[Any, jax.Array]:
    """Scales the whole tree to a norm of at most `limit` (0: leaves it), and gives the norm before."""
    norm = optax.tree.norm(gradients)
    if not limit:
        return gradients, norm
    scale = jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-30))
    return jax.tree.map(lambda g: g * scale, gradients), norm
