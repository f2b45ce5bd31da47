"""Several objectives in one run: all of them at each step, or one a step (as ERNIE 2.0, Sun et al. 2019, trains).

All read the same rows, and each corrupts them independently: a step of all costs the sum of their steps.
Parts of one name, such as the masked-language-model head, are shared. Where the model has task embeddings
(model.task_types), the rows of objective i are those of task i.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import Model
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import (
    Batch,
    Metrics,
    Moment,
    Objective,
    Vocabulary,
    joined,
    moment_of,
    own_encoders,
    own_names,
    own_parts,
)
from configuration.variants import ConfigError, Variant, load, use

WHERE = "config.objective"
NO_TURN = jnp.nan  # metrics of the objectives whose turn it is not


def parts(model: Model, *, objectives: tuple[Variant, ...] = ()) -> Parts:
    """The parts of all objectives."""
    return joined([own_parts(objective, model) for objective in as_variants(objectives)])


def exported(model: Model, *, objectives: tuple[Variant, ...] = ()) -> dict[str, str]:
    """The exported names of all objectives."""
    found = [own_names(objective, model) for objective in as_variants(objectives)]
    return {name: theirs for names in found for name, theirs in names.items()}


def encoders(
    model: Model, params: Mapping[str, Any], *, objectives: tuple[Variant, ...] = ()
) -> dict[str, tuple[Model, dict]]:
    """The encoders that all objectives train beside the model."""
    found = [own_encoders(objective, model, params) for objective in as_variants(objectives)]
    return {name: encoder for encoders in found for name, encoder in encoders.items()}


def build(
    model: Model,
    vocabulary: Vocabulary,
    *,
    objectives: tuple[Variant, ...] = (),
    weights: tuple[float, ...] = (),
    shares: tuple[int, ...] = (),
) -> Objective:
    """The objective. Its metrics are those of each objective, after its name; its accuracy is the first one's.

    Args:
      objectives: files of bert_jax/objectives with their options.
      weights: of their losses; without them each counts once.
      shares: with them, one objective has its turn at each step, each so often in every sum(shares) steps of a phase,
        in an order that depends on the run's seed. Its metrics are logged, those of the others are nan; evaluation
        has all, and as its loss the mean by shares.

    Raises:
      ConfigError: no objective, another number of weights, shares or task embeddings, or no weight or share above 0.
    """
    named = as_variants(objectives)
    weights, shares = weights or (1.0,) * len(named), tuple(shares)
    check(model, named, weights, shares)
    built = [load("bert_jax.objectives", objective)(model, vocabulary) for objective in named]
    labels = labels_of(named)

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        """The batch of the first objective, and under "1.tokens" and so on what the others have otherwise.

        With turns also turns (float [B, objectives]): a share of the batch's rows for the one whose turn it is.
        """
        drawn = [each.corrupt(batch, key_of(key, number)) for number, each in enumerate(built)]
        together = dict(drawn[0])
        for number, other in enumerate(drawn[1:], 1):
            together |= {f"{number}.{name}": x for name, x in other.items() if x is not drawn[0].get(name)}
        moment = moment_of(batch)
        if not shares or moment is None:
            return together
        rows = len(batch["tokens"])
        turns = jnp.where(jnp.arange(len(built)) == turn_at(moment, shares), 1 / rows, 0.0)
        return together | {"turns": jnp.broadcast_to(turns, (rows, len(built)))}

    def loss_of(number: int, params: Any, constants: Any, batch: Batch, key: jax.Array | None) -> Any:
        """An objective's loss, and its metrics."""
        own = batch_of(batch, number)
        if model.task_types:
            own["task_types"] = jnp.full_like(own["tokens"], number, jnp.int32)
        return built[number].loss(params, constants[number], own, None if key is None else key_of(key, number))

    def loss(params: Any, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        of = [functools.partial(loss_of, number) for number in range(len(built))]
        if "turns" in batch:
            return in_turn(of, labels, weights)(params, constants, batch, key)
        found = [each(params, constants, batch, key) for each in of]
        scale = [w * s / sum(shares) for w, s in zip(weights, shares, strict=True)] if shares else weights
        total = sum((w * loss for w, (loss, _) in zip(scale, found, strict=True)), jnp.float32(0))
        named = [named_metrics(label, *each) for label, each in zip(labels, found, strict=True)]
        return total, {"accuracy": found[0][1]["accuracy"], **{name: x for each in named for name, x in each.items()}}

    needs = tuple(dict.fromkeys(name for each in built for name in each.needs))
    return Objective(corrupt, loss, needs, tuple(each.constants for each in built))


def turns_of(objective: Variant) -> list[tuple[float, Variant]]:
    """What runs at a step, and at which share of the steps: the objectives of a mixture in turns; else itself."""
    shares = objective.options.get("shares", ()) if objective.name == "mixture" else ()
    if not shares:
        return [(1.0, objective)]
    found = zip(shares, as_variants(objective.options["objectives"]), strict=True)
    return [(share / sum(shares), each) for share, each in found]


def as_variants(objectives: Sequence[Variant | str]) -> list[Variant]:
    """The objectives as they may stand on a command line: by their names."""
    return [use(each) if isinstance(each, str) else each for each in objectives]


def check(model: Model, objectives: Sequence[Variant], weights: Sequence[float], shares: Sequence[int]) -> None:
    """Raises ConfigError for options that make no mixture."""
    if not objectives:
        raise ConfigError(f"{WHERE}.objectives is (); a mixture names some: objectives=(use('mlm'), …)")
    if len(weights) != len(objectives) or min(weights) < 0 or not max(weights) > 0:
        wanted = f"{len(objectives)} numbers from 0 on, one for each of config.objective.objectives"
        raise ConfigError(f"{WHERE}.weights is {weights}; it must hold {wanted}, one of them above 0")
    whole = all(isinstance(share, int) and share >= 0 for share in shares)
    if shares and (len(shares) != len(objectives) or not whole or not sum(shares)):
        wanted = f"{len(objectives)} whole numbers from 0 on, one for each of config.objective.objectives"
        raise ConfigError(f"{WHERE}.shares is {shares}; it must hold {wanted}, one of them above 0")
    if 0 < model.task_types < len(objectives):
        wanted = f"{len(objectives)} objectives need as many, or 0"
        raise ConfigError(f"config.model.task_types is {model.task_types}; {wanted}")


def labels_of(objectives: Sequence[Variant]) -> list[str]:
    """What the metrics of each objective are called after: its name, with a number where it is there already."""
    names = [objective.name.rpartition(".")[2] for objective in objectives]
    earlier = [names[:number].count(name) for number, name in enumerate(names)]
    return [f"{name}_{count + 1}" if count else name for name, count in zip(names, earlier, strict=True)]


def named_metrics(label: str, loss: jax.Array, metrics: Metrics) -> Metrics:
    """An objective's metrics under its label."""
    return {f"{label}_{name}": jnp.asarray(x, jnp.float32) for name, x in {**metrics, "loss": loss}.items()}


def key_of(key: jax.Array, number: int) -> jax.Array:
    """A key for each objective; the first one's is the key itself, so that one alone draws as without a mixture."""
    return jax.random.fold_in(key, number) if number else key


def batch_of(batch: Batch, number: int) -> Batch:
    """An objective's batch of all that `corrupt` gives."""
    common = {name: x for name, x in batch.items() if "." not in name and name != "turns"}
    return common | {name.partition(".")[2]: x for name, x in batch.items() if name.startswith(f"{number}.")}


def turn_at(moment: Moment, shares: Sequence[int]) -> jax.Array:
    """int32 []: the objective whose turn it is. In every sum(shares) steps of a phase each has its share, shuffled."""
    steps = sum(shares)
    order = jax.random.permutation(jax.random.fold_in(moment.key, moment.phase_step // steps), steps)
    return jnp.searchsorted(jnp.asarray(np.cumsum(shares)), order[moment.phase_step % steps], side="right")


def in_turn(losses: Sequence[Any], labels: Sequence[str], weights: Sequence[float]) -> Any:
    """The loss of the objective whose turn `batch["turns"]` says it is; nothing else runs.

    Its gradient is taken within the branch: JAX's own would keep what the backward passes of all branches need.
    """

    def of(number: int, params: Any, constants: Any, batch: Batch, key: Any) -> tuple[jax.Array, Metrics]:
        loss, metrics = losses[number](params, constants, batch, key)
        return weights[number] * loss, {"accuracy": metrics["accuracy"], **named_metrics(labels[number], loss, metrics)}

    def switched(branches: Sequence[Any], params: Any, constants: Any, batch: Batch, key: Any) -> Any:
        shapes = [jax.eval_shape(branch, params, constants, batch, key)[0][1] for branch in branches]
        names = list(dict.fromkeys(name for shape in shapes for name in shape))

        def padded(branch: Any, *arguments: Any) -> Any:
            (loss, metrics), *gradients = branch(*arguments)
            every = {name: jnp.asarray(metrics.get(name, NO_TURN), jnp.float32) for name in names}
            return (loss, every), *gradients

        turn = jnp.argmax(batch["turns"][0])
        return jax.lax.switch(
            turn, [functools.partial(padded, branch) for branch in branches], params, constants, batch, key
        )

    def with_turns(metrics: Metrics, batch: Batch) -> Metrics:
        return metrics | {f"{label}_turn": x for label, x in zip(labels, batch["turns"].sum(0), strict=True)}

    @jax.custom_vjp
    def taken(params: Any, constants: Any, batch: Batch, key: Any) -> tuple[jax.Array, Metrics]:
        values = [lambda *given, number=number: (of(number, *given),) for number in range(len(losses))]
        ((loss, metrics),) = switched(values, params, constants, batch, key)
        return loss, with_turns(metrics, batch)

    def forward(params: Any, constants: Any, batch: Batch, key: Any) -> Any:
        with_gradients = [
            jax.value_and_grad(functools.partial(of, number), has_aux=True) for number in range(len(losses))
        ]
        (loss, metrics), gradients = switched(with_gradients, params, constants, batch, key)
        return (loss, with_turns(metrics, batch)), gradients

    def backward(gradients: Any, wanted: Any) -> Any:
        return jax.tree.map(lambda g: wanted[0] * g, gradients), None, None, None

    taken.defvjp(forward, backward)
    return taken
