"""Pure functions (state, batch) → (state, metrics), for training and for evaluation."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bert_jax import transforms
from bert_jax.config import Config, Phase
from bert_jax.config.schema import LARGEST_STEPS
from bert_jax.embedding import gradient_cache
from bert_jax.objectives import Batch, Moment, Objective
from bert_jax.runtime import sharding
from bert_jax.training import guard
from bert_jax.training.state import State, abstract_state, learning_rate, make_optimizer, statistics_of

Metrics = dict[str, Any]  # of float32 and int32 scalars, and "statistics"
CORRUPTION, DROPOUT = 0, 1  # streams of the random key of a step
RUN = LARGEST_STEPS  # a step that never occurs, whose key is that of the whole run
OPTIMIZER = "optimizer"  # what a trace calls clipping and the update


class Updates:
    """The updates of all phases, each compiled when it is first called.

    Those that also give the layers' statistics are programs of their own, for the steps that want them.
    """

    def __init__(self, config: Config, objectives: Sequence[Objective], mesh: jax.sharding.Mesh):
        compiled = lambda statistics: [
            jit_train_step(config, phase, objective, mesh, statistics)
            for phase, objective in zip(config.phases, objectives, strict=True)
        ]
        self._every = config.statistics_every
        self._plain = compiled(False)
        self._with_statistics = compiled(True) if self._every else []

    def __call__(self, step: int, phase: int, state: State, batch: Batch, constants: Any) -> tuple[State, Metrics]:
        """Update number `step`, counted from 1."""
        wanted = self._every and step % self._every == 0
        return (self._with_statistics if wanted else self._plain)[phase](state, batch, constants)


def jit_train_step(
    config: Config, phase: Phase, objective: Objective, mesh: jax.sharding.Mesh, statistics: bool = False
) -> Any:
    """The phase's update, compiled once: the state comes out laid out as it went in, and is donated."""
    train_step = sharding.on_mesh(mesh, make_train_step(config, phase, objective, statistics))
    laid_out = jax.tree.map(lambda x: x.sharding, abstract_state(config, mesh))
    return jax.jit(train_step, donate_argnums=0, out_shardings=(laid_out, sharding.everywhere(mesh)))


def make_train_step(
    config: Config, phase: Phase, objective: Objective, statistics: bool = False
) -> Callable[..., tuple[State, Metrics]]:
    """The update of one phase: (state, batch, the objective's constants) → (state, metrics).

    Random draws depend on (seed, step, row of the global batch) alone. With `statistics` the metrics hold those of
    every layer too, under that name.
    """
    rate, transforming = learning_rate(config), transforms.transforms_of(config)
    of_layers = statistics_of(config) if statistics else None
    part = phase.batch_size // phase.microbatches  # rows; a batch that still grows has fewer parts of the same size

    def train_step(state: State, batch: Batch, constants: Any = objective.constants) -> tuple[State, Metrics]:
        key = jax.random.fold_in(jax.random.key(config.seed + 1), state["step"])
        corrupted = corrupt(objective, batch, moment(config, state["step"]), jax.random.fold_in(key, CORRUPTION))
        parts = max(1, batch["segments"].shape[0] // part)
        dropout_key = jax.random.fold_in(key, DROPOUT)
        shown = lambda params: transforms.apply(transforming, params, state.get("transforms", {}), in_step=True)
        params, through = jax.vjp(shown, state["params"])
        gradients, summed = accumulate(objective, params, constants, corrupted, dropout_key, parts)
        (gradients,) = through(gradients)
        gradients, norm = clipped(gradients, config.clip_norm)
        skipped = guard.counts(state["opt_state"]).get("skipped", 0)
        optimizer = make_optimizer(config, skipped)
        updates, opt_state = jax.named_scope(OPTIMIZER)(optimizer.update)(
            gradients, state["opt_state"], state["params"], norm=norm
        )
        params = optax.apply_updates(state["params"], updates)
        metrics: Metrics = {
            **summed,
            "learning_rate": jnp.asarray(rate(state["step"]), jnp.float32),
            "gradient_norm": norm,
            "tokens": (batch["segments"] > 0).sum(),
            **guard.counts(opt_state),
        }
        if of_layers:
            metrics["statistics"] = of_layers(gradients, state["opt_state"], state["params"])
        new = state | {"step": state["step"] + 1, "params": params, "opt_state": opt_state}
        if transforming:
            made = guard.counts(opt_state)["skipped"] == skipped if config.guard.on else True
            new["transforms"] = transforms.update(transforming, state["transforms"], params, made)
        return new, metrics

    return train_step


def moment(config: Config, step: jax.Array) -> Moment:
    """The progress of the run after `step` updates."""
    ends = list(itertools.accumulate(phase.steps for phase in config.phases))
    begun = jnp.asarray([0, *ends[:-1]], jnp.int32)
    run_key = jax.random.fold_in(jax.random.key(config.seed + 1), RUN)
    return Moment(step, config.steps, step - jnp.where(begun <= step, begun, 0).max(), run_key)


@jax.named_scope("corrupt")
def corrupt(objective: Objective, batch: Batch, moment: Moment, key: jax.Array) -> Batch:
    """The batch as the objective corrupts it at this moment: arrays with one entry a row."""
    with_moment: Any = {**batch, "moment": moment}
    corrupted = objective.corrupt(with_moment, key)
    return {name: values for name, values in corrupted.items() if name != "moment"}


def accumulate(
    objective: Objective, params: Any, constants: Any, batch: Batch, key: jax.Array, parts: int
) -> tuple[Any, Metrics]:
    """Gradients of the loss, the loss and its metrics, over `parts` microbatches one after the other.

    The batch's weights are shares of the whole, so that the parts add up to one big batch, up to rounding. A loss of
    the whole batch's vectors has its gradients cached instead.
    """
    if objective.whole_batch and parts > 1:
        encode, value = objective.whole_batch
        encode_part = lambda params, part, key: encode(sharding.word_embeddings_per_shard(params), part, key)
        return gradient_cache.gradients(encode_part, value, params, batch, key, parts)

    def summed(params: Any, constants: Any, part: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
        loss, metrics = objective.loss(sharding.word_embeddings_per_shard(params), constants, part, key)
        return loss, {"loss": loss, **metrics}

    gradient = jax.grad(summed, has_aux=True)
    if parts == 1:
        return gradient(params, constants, batch, key)

    def in_turn(params: Any, constants: Any, batch: Batch, key: jax.Array) -> tuple[Any, Metrics]:
        # Row r goes to part r mod `parts`: each device keeps its own rows.
        split = {name: jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0) for name, x in batch.items()}
        inputs = (split, jax.random.split(key, parts))
        add = lambda total, inputs: (jax.tree.map(jnp.add, total, gradient(params, constants, *inputs)), None)
        shapes = jax.eval_shape(gradient, params, constants, *jax.tree.map(lambda x: x[0], inputs))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.scan(add, zeros, inputs)[0]

    return sharding.per_replica(in_turn)(params, constants, batch, key)


@jax.named_scope(OPTIMIZER)
def clipped(gradients: Any, limit: float) -> tuple[Any, jax.Array]:
    """Gradients scaled together to a norm of at most `limit` (0: any), and the norm before."""
    norm = optax.tree.norm(gradients)
    if not limit:
        return gradients, norm
    scale = jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-30))
    return jax.tree.map(lambda g: g * scale, gradients), norm
