"""Counts the multiplications and additions of matrix products: those a training step needs, and those it does.

`needed_flops` is the formula behind every share of a machine's peak, for masked language modelling; `training_flops`
counts what any run needs, whatever its objectives train and run beside the encoder, such as a generator; `matmul_flops`
counts a traced function's own, loops and kernels included.
"""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.analysis.hlo import KernelCall
from bert_jax.config import Config, Model
from bert_jax.modeling import bert
from bert_jax.objectives import Objective, Vocabulary, mixture, own_parts
from configuration.variants import Variant, load

OF_ROWS = ("pair_label", "distance_label")  # fields of a batch with a number for each row, not each token


def needed_flops(model: Model, length: int, predictions: int) -> float:
    """What forward and backward pass of masked language modelling need for one row; one multiply-add is two.

        3 · Σ over layers [ 4 L D² + 4 Q D² + 4 Q K D + 4 Q D F ]  +  3 · P (2 D² + 2 D V)

    with Q = L queries in every layer but the last, and Q = P there: nothing else reads that layer's output. Keys and
    values are the first term; a query attends to K = L keys, or to those within the window (on average over the
    row) in a local layer. The backward pass is twice the forward. Not counted: what is computed again
    (rematerialisation), the vocabulary's padding, the vectors of relative positions, everything but matrix products.
    A row counts as full and as one document.

    Args:
      length: L, tokens in a row.
      predictions: P, predicted positions in a row.
    """
    d = model.width

    def layer(number: int) -> float:
        queries = length if number < model.layers - 1 else predictions
        keys = keys_within(model.window, length) if model.is_local(number) else length
        feed_forward = (2 + model.gated) * d * model.mlp_width
        return 4.0 * length * d**2 + 2.0 * queries * (2 * d**2 + 2 * keys * d + feed_forward)

    e = model.table_width
    factorised = 2.0 * length * d * e if model.embedding_width else 0.0
    head = 2.0 * predictions * (d * e + e * model.vocab_size)
    return 3 * (factorised + sum(map(layer, range(model.layers))) + head)


def training_flops(config: Config) -> float:
    """What all updates of a run need, forward and backward pass; one multiply-add is two."""
    return sum(step_flops(config, number) * phase.steps for number, phase in enumerate(config.phases))


def step_flops(config: Config, phase: int) -> float:
    """What an update of a phase needs on average, where a batch has grown to its size."""
    of = config.phases[phase]
    turns = mixture.turns_of(config.objectives[phase])
    return of.batch_size * sum(share * row_flops(each, config.models[phase], of.length) for share, each in turns)


def row_flops(objective: Variant, model: Model, length: int) -> float:
    """What one row needs: three times the products of the loss's forward pass, as they are traced.

    As `needed_flops`, except that a local layer counts the keys that the kernel here computes, and the vocabulary's
    padding counts.

    Args:
      length: L, tokens in a row.
    """
    built = load("bert_jax.objectives", objective)(model, Vocabulary(model.vocab_size, pad=0, cls=2, sep=3, mask=4))
    batch = jax.eval_shape(built.corrupt, abstract_rows(built, 1, length), jax.random.key(0))
    params = bert.abstract_params(model, own_parts(objective, model))
    constants = jax.eval_shape(lambda: built.constants)
    forward = lambda params, constants, batch: built.loss(params, constants, batch, None)[0]
    return 3 * matmul_flops(jax.make_jaxpr(forward)(params, constants, batch).jaxpr)


def abstract_rows(objective: Objective, rows: int, length: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`rows` rows as `data_pipeline.batches.pipeline.batches` gives them, with the fields that an objective needs."""
    dtypes: dict[str, Any] = dict.fromkeys(("tokens", "segments", "positions", "token_types"), jnp.int32)
    dtypes |= {name: jnp.int32 if name in OF_ROWS else jnp.bool_ for name in objective.needs}  # annotations
    shape = lambda name: (rows,) if name in OF_ROWS else (rows, length)
    return {name: jax.ShapeDtypeStruct(shape(name), dtype) for name, dtype in dtypes.items()}


def keys_within(window: int, length: int) -> float:
    """Keys at most `window` positions away from a query, averaged over the row."""
    reach = min(window, length - 1)
    return 1 + 2 * reach - reach * (reach + 1) / length


def matmul_flops(jaxpr: Any) -> float:
    """Floating-point operations of every matrix product, on all devices together; one multiply-add is two.

    A loop counts as often as it runs (`while`, whose count is unknown, once), a conditional as its most expensive
    branch, a Pallas kernel once for each step of its grid.
    """
    return sum(of_equation(equation) for equation in jaxpr.eqns)


def of_equation(equation: Any) -> float:
    """As `matmul_flops`, of one equation."""
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(shape[axis] for axis in contracted)
    inner = [matmul_flops(jaxpr) for jaxpr in jaxprs_in(params.values())]
    if name == "cond":
        return max(inner, default=0.0)
    return sum(inner) * repeats(name, params)


def repeats(name: str, params: Any) -> int:
    """How often an equation runs what is in it."""
    if name == "scan":
        return params["length"]
    if name == "pallas_call":
        return math.prod(size for size in params["grid_mapping"].grid if isinstance(size, int))
    if name == "shard_map":  # inside, shapes are those of one device along its axes; one within another has other axes
        return math.prod(params["mesh"].shape[axis] for axis in params["newly_manual_axes"])
    return 1


def kernels_without_estimate(jaxpr: Any, times: int = 1) -> Iterator[KernelCall]:
    """The calls of Pallas kernels that come without an estimate of their own, such as splash's, on one device.

    Their products are counted over the grid; of the memory traffic, each array once, which is the least.
    """
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "pallas_call":
            if params["cost_estimate"] is None:
                moved = sum(math.prod(x.aval.shape) * x.aval.dtype.itemsize for x in equation.invars + equation.outvars)
                yield KernelCall(round(of_equation(equation)), moved, times)
            continue
        turns = times * params["length"] if name == "scan" else times
        for inner in jaxprs_in(params.values()):
            yield from kernels_without_estimate(inner, turns)


def jaxprs_in(values: Any) -> Iterator[Any]:
    """The jaxprs among an equation's parameters."""
    for value in values:
        if hasattr(value, "eqns"):
            yield value
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr
        elif isinstance(value, (tuple, list)):
            yield from jaxprs_in(value)
