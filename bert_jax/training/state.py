"""The train state, {step, params, opt_state}: abstract shapes and sharded initialisation.

A run that may roll back (config.guard) also has "roll_backs": how many were `done`, and `skipped_rows`, int32
[phases], the rows of each phase's text that they leave out. One with transforms of the weights (config.transforms) has
"transforms": {name: state}.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bert_jax import transforms
from bert_jax.config import Config, Phase
from bert_jax.modeling import bert
from bert_jax.objectives import distinct, parts_of
from bert_jax.runtime.trees import flatten
from bert_jax.training import guard, state_sharding, transfer
from configuration.variants import ConfigError, load, module
from data_pipeline.batches import batch_sizes
from data_pipeline.batches.batch_sizes import BatchSizes

State = dict[str, Any]


def learning_rate(config: Config) -> optax.Schedule:
    """The schedules of all phases, one after the other: step → learning rate."""
    schedules = [load("bert_jax.training.schedules", p.schedule)(p.steps, p.learning_rate) for p in config.phases]
    starts = [sum(p.steps for p in config.phases[:i]) for i in range(1, len(config.phases))]
    return optax.join_schedules(schedules, starts)


def phase_at(config: Config, step: int) -> tuple[int, Phase, int]:
    """The phase that does update number `step`, as (its number, the phase, updates already done in it)."""
    for i, phase in enumerate(config.phases):
        if step < phase.steps:
            return i, phase, step
        step -= phase.steps
    raise ValueError(f"step is {step} past the last phase")


def batch_sizes_of(phase: Phase) -> BatchSizes:
    """The batch size of each step of the phase, and where in the phase's text it begins."""
    warmup = phase.batch_warmup
    if not warmup.tokens:
        return batch_sizes.constant(phase.batch_size)
    return batch_sizes.warm_up(warmup.first, phase.batch_size, warmup.increment, warmup.tokens // phase.length)


def make_optimizer(config: Config, skipped: jax.Array | int = 0) -> optax.GradientTransformationExtraArgs:
    """The optimizer that the config names, on the phases' learning rates, with the guard if it asks for one.

    Its `update` takes the norm of the gradient before clipping as `norm`.

    Args:
      skipped: int32 [], updates that the guard has skipped before the next one: the optimizer does not count them, but
        they were steps of the run, whose learning rate is that of the step.
    """
    rate = learning_rate(config)
    optimizer = load("bert_jax.training.optimizers", config.optimizer)(lambda made: rate(made + skipped))
    optimizer = transfer.wrap(optimizer, config)
    if config.guard.on:
        options = config.guard
        optimizer = guard.wrap(optimizer, factor=options.factor, decay=options.decay, grace=options.grace)
    return optax.with_extra_args_support(optimizer)


def statistics_of(config: Config) -> Callable[[Any, Any, Any], dict[str, Any]]:
    """(gradients, opt_state, params) → what the next update does to each layer, by the optimizer's own `statistics`.

    Raises:
      ConfigError: the optimizer has none.
    """
    optimizer = module("bert_jax.training.optimizers", config.optimizer.name)
    if not hasattr(optimizer, "statistics"):
        raise ConfigError(
            f"config.statistics_every is {config.statistics_every}, but the optimizer {config.optimizer.name} has no "
            "statistics of its layers; set it to 0, or take lamb"
        )
    statistics = load("bert_jax.training.optimizers", config.optimizer, "statistics")

    def of_layers(gradients: Any, opt_state: Any, params: Any) -> dict[str, Any]:
        return statistics(gradients, opt_state.inner if config.guard.on else opt_state, params)

    return of_layers


def kept_transforms(config: Config, params: Any) -> State:
    """What a fresh state keeps for the transforms of the weights; nothing in a run without any."""
    return {"transforms": transforms.init(transforms.transforms_of(config), params)} if config.transforms else {}


def no_roll_backs(config: Config) -> State:
    """What a fresh state remembers of roll-backs; nothing in a run that never rolls back."""
    if not config.guard.rolls_back:
        return {}
    zeros = jnp.zeros((len(config.phases),), jnp.int32)
    return {"roll_backs": {"done": jnp.zeros((), jnp.int32), "skipped_rows": zeros}}


@functools.lru_cache(maxsize=4)  # a start asks four times, and each would trace the initial weights
def abstract_state(config: Config, mesh: jax.sharding.Mesh) -> State:
    """Shapes, dtypes and shardings of the state, without computing anything. Read it only: callers share it."""
    optimizer = make_optimizer(config)
    heads = parts_of(config)
    params = bert.abstract_params(config.model, heads)
    axes = bert.parameter_axes(config.model, heads)
    shapes = {
        "step": jax.ShapeDtypeStruct((), jnp.int32),
        "params": params,
        "opt_state": jax.eval_shape(optimizer.init, params),
        **jax.eval_shape(lambda params: kept_transforms(config, params), params),
        **jax.eval_shape(lambda: no_roll_backs(config)),
    }
    shardings = state_sharding.state_shardings(axes, optimizer, transforms.transforms_of(config), params, mesh)
    shardings |= jax.tree.map(lambda _: shardings["step"], no_roll_backs(config))
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)


def init_state(
    config: Config,
    mesh: jax.sharding.Mesh,
    token_counts: np.ndarray | None = None,
    imported: Mapping[str, Any] | None = None,
    vectors: np.ndarray | None = None,
) -> State:
    """The state at step 0: each device makes or takes its own part.

    Args:
      token_counts: [V], how often each token stands in the training text, for `config.unigram_bias`.
      imported: parts of the parameters, such as "embeddings", that are given; the others are fresh.
      vectors: float32 [V, E], the word embeddings' start, for `config.cooccurrence`; where a row is zero, it is random.
    """
    optimizer = make_optimizer(config)
    bias = unigram_bias(config, token_counts)

    def init(key: jax.Array, imported: dict[str, Any], vectors: jax.Array | None) -> State:
        params = bert.init(config.model, key, parts_of(config))
        if vectors is not None:
            params = with_vectors(params, config.cooccurrence * config.model.init_std * vectors)
        if bias is not None:
            params = with_bias(params, jnp.asarray(bias))
        if config.transfer.fresh_layers and "layers" in imported:
            imported = imported | {"layers": transfer.with_fresh_layers(config, params["layers"], imported["layers"])}
        params |= imported
        fresh = {"step": jnp.zeros((), jnp.int32), "params": params, "opt_state": optimizer.init(params)}
        return fresh | kept_transforms(config, params) | no_roll_backs(config)

    shardings = jax.tree.map(lambda x: x.sharding, abstract_state(config, mesh))
    given = {name: jax.tree.map(place, part, shardings["params"][name]) for name, part in (imported or {}).items()}
    table = None
    if vectors is not None:
        padded = np.pad(vectors, ((0, config.model.padded_vocab_size - len(vectors)), (0, 0)))
        table = place(padded, shardings["params"]["embeddings"]["word"]["embedding"])
    return jax.jit(init, out_shardings=shardings)(jax.random.key(config.seed), given, table)


def place(array: Any, where: jax.sharding.Sharding) -> jax.Array:
    """An array that every process has, as float32 on the mesh; each device takes its own part."""
    array = np.asarray(array, np.float32)
    return jax.make_array_from_callback(array.shape, where, lambda index: array[index])


def with_vectors(params: dict[str, Any], vectors: jax.Array) -> dict[str, Any]:
    """The parameters with these word embeddings [Vp, E]; where a row is zero, the embedding stays."""
    embeddings = params["embeddings"]
    table = jnp.where(jnp.any(vectors != 0, axis=1, keepdims=True), vectors, embeddings["word"]["embedding"])
    return params | {"embeddings": embeddings | {"word": {"embedding": table}}}


def with_bias(params: dict[str, Any], bias: Any) -> dict[str, Any]:
    """The parameters with this bias in each masked-language-model head, also that of an objective's own encoder."""
    changed = {name: with_bias(part, bias) if isinstance(part, dict) else part for name, part in params.items()}
    return changed | ({"mlm_head": {**changed["mlm_head"], "bias": bias}} if "mlm_head" in changed else {})


def unigram_bias(config: Config, token_counts: np.ndarray | None) -> np.ndarray | None:
    """float32 [Vp]: the log of each token's share of the text (each count raised by one), or None if not wanted."""
    if not config.unigram_bias:
        return None
    names = flatten(bert.abstract_params(config.model, parts_of(config)))
    if not any(f".{name}".endswith(".mlm_head.bias") for name in names):
        named = " and ".join(objective.name for objective in distinct(config.objectives))
        raise ConfigError(f"config.unigram_bias is true, but config.objective {named} has no MLM head")
    assert token_counts is not None
    counts = token_counts.astype(np.float64) + 1
    bias = np.zeros(config.model.padded_vocab_size, np.float32)
    bias[: len(counts)] = np.log(counts / counts.sum())
    return bias
