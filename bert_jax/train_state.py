"""The train state, {step, params, opt_state}: abstract shapes and sharded initialisation."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bert_jax import sharding
from bert_jax.config import Config, Phase
from bert_jax.modeling import bert
from bert_jax.variants import load

State = dict[str, Any]


def learning_rate(config: Config) -> optax.Schedule:
    """The schedules of all phases, one after the other: step → learning rate."""
    schedules = [load("bert_jax.schedules", p.schedule)(p.steps, p.learning_rate) for p in config.phases]
    starts = [sum(p.steps for p in config.phases[:i]) for i in range(1, len(config.phases))]
    return optax.join_schedules(schedules, starts)


def phase_at(config: Config, step: int) -> tuple[int, Phase, int]:
    """The phase that does update number `step`, as (its number, the phase, updates already done in it)."""
    for i, phase in enumerate(config.phases):
        if step < phase.steps:
            return i, phase, step
        step -= phase.steps
    raise ValueError(f"step is {step} past the last phase")


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """The optimizer that the config names, on the phases' learning rates."""
    return load("bert_jax.optimizers", config.optimizer)(learning_rate(config))


def abstract_state(config: Config, mesh: jax.sharding.Mesh) -> State:
    """Shapes, dtypes and shardings of the state, without computing anything."""
    optimizer = make_optimizer(config)
    params = bert.abstract_params(config.model)
    shapes = {
        "step": jax.ShapeDtypeStruct((), jnp.int32),
        "params": params,
        "opt_state": jax.eval_shape(optimizer.init, params),
    }
    shardings = sharding.state_shardings(config.model, optimizer, params, mesh)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)


def init_state(
    config: Config,
    mesh: jax.sharding.Mesh,
    token_counts: np.ndarray | None = None,
    imported: Mapping[str, Any] | None = None,
) -> State:
    """The state at step 0: each device makes or takes its own part.

    Args:
      token_counts: [V], how often each token stands in the training text, for `config.unigram_bias`.
      imported: parts of the parameters, such as "embeddings", that are given; the others are fresh.
    """
    optimizer = make_optimizer(config)
    bias = unigram_bias(config, token_counts)

    def init(key: jax.Array, imported: dict[str, Any]) -> State:
        params = bert.init(config.model, key)
        if bias is not None:
            params["mlm_head"]["bias"] = jnp.asarray(bias)
        params |= imported
        return {"step": jnp.zeros((), jnp.int32), "params": params, "opt_state": optimizer.init(params)}

    shardings = jax.tree.map(lambda x: x.sharding, abstract_state(config, mesh))
    given = {name: jax.tree.map(place, part, shardings["params"][name]) for name, part in (imported or {}).items()}
    return jax.jit(init, out_shardings=shardings)(jax.random.key(config.seed), given)


def place(array: Any, where: jax.sharding.Sharding) -> jax.Array:
    """An array that every process has, as float32 on the mesh; each device takes its own part."""
    array = np.asarray(array, np.float32)
    return jax.make_array_from_callback(array.shape, where, lambda index: array[index])


def unigram_bias(config: Config, token_counts: np.ndarray | None) -> np.ndarray | None:
    """float32 [Vp]: the log of each token's share of the text (each count raised by one), or None if not wanted."""
    if not config.unigram_bias:
        return None
    assert token_counts is not None
    counts = token_counts.astype(np.float64) + 1
    bias = np.zeros(config.model.padded_vocab_size, np.float32)
    bias[: len(counts)] = np.log(counts / counts.sum())
    return bias
