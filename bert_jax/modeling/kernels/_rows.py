"""A Pallas kernel for TPU that takes one head of one row at a time: what `band` and `fused` share.

A step goes over the queries block by block, each block against all keys. Nothing of size [P, L] leaves the chip's own
memory: the backward pass computes the probabilities again, and which of them dropout keeps, so that q, k, v are all
that is saved. What the scores and the values have beside their products is a `Scheme`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from bert_jax.modeling.kernels import _dropout
from bert_jax.modeling.kernels._mesh import over_mesh
from bert_jax.modeling.visibility import Visibility

LONGEST = 1024  # tokens in a row: what a head needs, also in float32 at head size 128, fits in 16 MiB
LANES = 128  # of a TPU's registers: queries in a block, and what keys are padded to
HIDDEN = -1e30  # the score of a key that a query does not see: far below any other, yet finite


class Block(Protocol):
    """One block of queries inside the kernel."""

    @property
    def rows(self) -> slice:
        """Of the queries."""

    def pairs(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """The products of x, float32 [block, H], with each row of k or v as `operand` gave it: [block, L]."""

    def sums(self, weights: jax.Array, y: jax.Array) -> jax.Array:
        """The sums of k or v as `operand` gave it, weighted by [block, L]: float32 [block, H]."""


class Scheme(Protocol):
    """What is added to keys and values; hashable."""

    def constants(self, size: int, dtype: jnp.dtype) -> tuple[jax.Array, ...]:
        """Matrices that every step of the kernel reads; `size` is H."""

    def operand(self, y: Any, *constants: Any) -> jax.Array:
        """k or v [L, H] as the products take it."""

    def block(self, rows: slice, *constants: Any) -> Block:
        """The block of these queries."""

    def products(self, queries: int, keys: int, backward: bool) -> tuple[int, int]:
        """Pairs of query and key in one head's products with vectors H numbers wide, and with those 2H wide."""


class Plan(NamedTuple):
    """What is known of a call when the kernel is written out."""

    name: str
    scheme: Scheme
    scale: float
    block: int  # queries at a time; both lengths are padded to multiples
    rate: float  # of dropout, where there is a key
    window: int | None
    interpret: bool


class Ids(NamedTuple):
    """Numbers of each query, and of each key: its segment, its place if there is a window, its word of dropout."""

    queries: jax.Array  # int32 [B, P, c]
    keys: jax.Array  # int32 [B, c, L]


def attend(
    plan: Plan, q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility, key: jax.Array | None
) -> jax.Array:
    """q [B, P, N, H], k [B, L, N, H], v [B, L, N, G] → [B, P, N, G].

    Args:
      key: of dropout; None for none.
    """
    plan = plan if key is not None else plan._replace(rate=0.0)
    rows, queries, heads, _ = q.shape
    places = jnp.arange(queries)[None] if visibility.query_places is None else visibility.query_places
    of_queries, of_keys = [visibility.query_segments], [visibility.key_segments]
    if plan.window is not None:
        of_queries, of_keys = [*of_queries, places], [*of_keys, jnp.arange(k.shape[1])[None]]
    of_heads = None
    if plan.rate and key is not None:
        words = _dropout.words(key, places, rows, heads, k.shape[1])
        of_queries, of_keys, of_heads = [*of_queries, words.queries], [*of_keys, words.keys], words.heads
    ids = Ids(_stacked(of_queries, plan.block, 2), _stacked(of_keys, plan.block, 1))
    run = over_mesh(functools.partial(_attend, plan))
    return run(*(_pad(x, plan.block, 0) for x in (q, k, v)), ids, of_heads)[:, :queries]


def _stacked(vectors: list[jax.Array], block: int, axis: int) -> jax.Array:
    """int32 of vectors [B, L], or [1, L] for all rows alike, beside each other; what is padded has segment −1."""
    shape = vectors[0].shape
    padded = [_pad(jnp.broadcast_to(x, shape).astype(jnp.int32), block, 0 if i else -1) for i, x in enumerate(vectors)]
    return jnp.stack(padded, axis)


def _pad(x: jax.Array, block: int, value: int) -> jax.Array:
    """x [B, L, ...] with `value` up to the next multiple of `block` on axis 1."""
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % block)) + ((0, 0),) * (x.ndim - 2), constant_values=value)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(plan: Plan, q: jax.Array, k: jax.Array, v: jax.Array, ids: Ids, of_heads: jax.Array | None) -> jax.Array:
    q, k, v = (_heads_first(x) for x in (q, k, v))
    out = jax.ShapeDtypeStruct((*q.shape[:3], v.shape[3]), q.dtype)
    return _heads_first(_call(plan, _forward, ids, of_heads, [q, k, v], [out])[0])


def _save(plan: Plan, *arguments: Any) -> tuple[jax.Array, tuple]:
    return _attend(plan, *arguments), arguments


def _pull(plan: Plan, saved: tuple, gradient: jax.Array) -> tuple:
    *arrays, ids, of_heads = saved
    arrays = [_heads_first(x) for x in (*arrays, gradient.astype(arrays[0].dtype))]
    gradients = _call(plan, _backward, ids, of_heads, arrays, arrays[:3])
    return (*(_heads_first(x) for x in gradients), None, None)


_attend.defvjp(_save, _pull)


def _heads_first(x: jax.Array) -> jax.Array:
    """[B, L, N, H] ↔ [B, N, L, H]."""
    return jnp.swapaxes(x, 1, 2)


def _call(
    plan: Plan, body: Callable, ids: Ids, of_heads: jax.Array | None, arrays: list[jax.Array], results: list[Any]
) -> list[jax.Array]:
    """Runs `body` for every row and head.

    Args:
      of_heads: words of dropout, if the plan has a rate.
      arrays: [B, N, P or L, H] each: q, k, v and, for the backward pass, the output's gradient.
      results: shaped as the output, or as q, k and v for their gradients.
    """
    rows, heads, queries, size = arrays[0].shape
    head = lambda x: pl.BlockSpec((None, None, *x.shape[2:]), lambda b, n: (b, n, 0, 0))
    row = lambda x: pl.BlockSpec((None, *x.shape[1:]), lambda b, n: (b, 0, 0))
    constants = plan.scheme.constants(size, arrays[0].dtype)
    backward = body is _backward
    plain, wide = plan.scheme.products(queries, arrays[1].shape[2], backward)
    words = [] if of_heads is None else [of_heads]
    return pl.pallas_call(
        functools.partial(body, plan),
        grid=(rows, heads),
        in_specs=[
            *[pl.BlockSpec(memory_space=pltpu.SMEM)] * len(words),
            *[row(x) for x in ids],
            *[pl.BlockSpec(x.shape, lambda b, n: (0, 0)) for x in constants],
            *[head(x) for x in arrays],
        ],
        out_specs=[head(x) for x in results],
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in results],
        scratch_shapes=[pltpu.VMEM(x.shape[2:], jnp.float32) for x in results[1:]],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel")),
        cost_estimate=pl.CostEstimate(
            flops=2 * rows * heads * size * (plain + 2 * wide),
            transcendentals=rows * heads * queries * arrays[1].shape[2],
            bytes_accessed=sum(x.size * x.dtype.itemsize for x in (*arrays, *results)),
        ),
        interpret=plan.interpret,
        name=f"{plan.name}_{'backward' if backward else 'forward'}",
    )(*words, *ids, *constants, *arrays)


def _forward(plan: Plan, *refs: Any) -> None:
    ids, (*constants, q, k, v, out) = _split(plan, refs)
    k, v = (plan.scheme.operand(y, *constants) for y in (k, v))
    for start in range(0, q.shape[0], plan.block):
        block = plan.scheme.block(slice(start, start + plan.block), *constants)
        weights, total, _ = _weights(plan, block, ids, q, k)
        weights = _drop(plan, block, ids, weights)
        out[block.rows, :] = (block.sums(weights, v) * _inverse(plan, total)).astype(out.dtype)


def _backward(plan: Plan, *refs: Any) -> None:
    ids, (*constants, q, k, v, gradient, dq, dk, dv, dk_sum, dv_sum) = _split(plan, refs)
    k, v = (plan.scheme.operand(y, *constants) for y in (k, v))
    dk_sum[...] = jnp.zeros_like(dk_sum)
    dv_sum[...] = jnp.zeros_like(dv_sum)
    for start in range(0, q.shape[0], plan.block):
        block = plan.scheme.block(slice(start, start + plan.block), *constants)
        weights, total, scaled = _weights(plan, block, ids, q, k)
        dropped = _drop(plan, block, ids, weights * _inverse(plan, total))
        ours = gradient[block.rows, :]
        product = dropped * block.pairs(ours.astype(jnp.float32), v)
        ds = product - weights * (jnp.sum(product, -1, keepdims=True) * (1 / total))
        dq[block.rows, :] = (plan.scale * block.sums(ds, k)).astype(dq.dtype)
        dk_sum[...] += dot(ds.astype(k.dtype), scaled.astype(k.dtype), 0, 0)
        dv_sum[...] += dot(dropped.astype(v.dtype), ours, 0, 0)
    dk[...] = dk_sum[...].astype(dk.dtype)
    dv[...] = dv_sum[...].astype(dv.dtype)


def _split(plan: Plan, refs: tuple) -> tuple[tuple, tuple]:
    """The numbers of queries, of keys and of this head (None without dropout), and all other references."""
    if not plan.rate:
        return (*refs[:2], None), refs[2:]
    head = pl.program_id(1)
    return (*refs[1:3], (refs[0][head, 0], refs[0][head, 1])), refs[3:]


def _weights(plan: Plan, block: Block, ids: tuple, q: Any, k: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """e^(score − largest) [block, L], its sum over keys [block, 1], and the scaled queries, float32."""
    of_queries, of_keys, _ = ids
    scaled = q[block.rows, :].astype(jnp.float32) * plan.scale
    seen = of_queries[block.rows, 0:1] == of_keys[0:1, :]
    if plan.window is not None:
        seen &= jnp.abs(of_queries[block.rows, 1:2] - of_keys[1:2, :]) <= plan.window
    scores = jnp.where(seen, block.pairs(scaled, k), HIDDEN)
    weights = jnp.exp(scores - jnp.max(scores, -1, keepdims=True))
    return weights, jnp.sum(weights, -1, keepdims=True), scaled


def _drop(plan: Plan, block: Block, ids: tuple, weights: jax.Array) -> jax.Array:
    """[block, L] with zeros where dropout says so."""
    if not plan.rate:
        return weights
    of_queries, of_keys, head = ids
    last = of_queries.shape[1] - 1
    query, key = (x.astype(jnp.uint32) for x in (of_queries[block.rows, last:], of_keys[last:, :]))
    return jnp.where(_dropout.kept(query, key, head, plan.rate), weights, 0)


def _inverse(plan: Plan, total: jax.Array) -> jax.Array:
    """What turns weights into probabilities, scaled as dropout scales those that it keeps."""
    return 1 / (total * (1 - plan.rate)) if plan.rate else 1 / total


def dot(a: jax.Array, b: jax.Array, a_axis: int, b_axis: int) -> jax.Array:
    """Contracts one axis of a with one of b, in float32."""
    return jax.lax.dot_general(a, b, (((a_axis,), (b_axis,)), ((), ())), preferred_element_type=jnp.float32)
