"""Dense layers, LayerNorm, tables and dropout, and the way from Flax modules to nested dicts and back.

Flax NNX modules are used as definitions only: `init` gives a nested dict of float32 arrays, `bind`
puts such a dict (or a traced one) back into the module. Nothing else of Flax is needed, so that
sharding, scanning and checkpointing stay plain JAX.

Every parameter carries its logical axes (`embed`, `mlp`, `heads`, `vocab`): `runtime/sharding.py` maps them to the
mesh.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.random import threefry2x32_p

from bert_jax.config import Model
from bert_jax.modeling.products import affine, apart
from bert_jax.modeling.threefry import written_out
from bert_jax.runtime.sharding import batch_shards, first_row, rows

M = TypeVar("M", bound=nnx.Module)
Make = Callable[..., M]  # a module class, called as (model, rngs=…)
Axes = tuple[str | None, ...]


class Dense(nnx.Module):
    """y = x · kernel + bias over the last `contract` axes of x; without `model.biases` there is no bias."""

    def __init__(self, shape: Sequence[int], axes: Axes, model: Model, rngs: nnx.Rngs, contract: int = 1):
        self.contract = contract
        self.dtype = jnp.dtype(model.dtype)
        self.kernel = nnx.Param(truncated_normal(rngs.params(), shape, model.init_std), axes=axes)
        self.bias = nnx.Param(jnp.zeros(shape[contract:]), axes=axes[contract:]) if model.biases else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """x [..., *contracted] → [..., *rest of the kernel's shape], in the compute dtype."""
        bias = None if self.bias is None else self.bias[...]
        return affine(x.astype(self.dtype), self.kernel[...].astype(self.dtype), bias, self.contract)


class LayerNorm(nnx.Module):
    """Normalises the last axis in float32 (Ba et al. 2016); the result is in x's dtype."""

    def __init__(self, model: Model, width: int = 0):
        """`width` is D if not given."""
        self.epsilon = model.norm_epsilon
        self.scale = nnx.Param(jnp.ones(width or model.width), axes=("embed",))
        self.bias = nnx.Param(jnp.zeros(width or model.width), axes=("embed",)) if model.biases else None

    def __call__(self, x: jax.Array) -> jax.Array:
        return normalise(x, self.scale[...], None if self.bias is None else self.bias[...], self.epsilon)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(x: jax.Array, scale: jax.Array, bias: jax.Array | None, epsilon: float) -> jax.Array:
    """(x − mean) / deviation · scale [D] + bias [D] over the last axis, in float32; the result in x's dtype.

    The backward pass saves x in its own dtype, where JAX would save three float32 arrays of that shape.
    """
    return _normalise_forward(x, scale, bias, epsilon)[0]


def _normalise_forward(x: jax.Array, scale: jax.Array, bias: jax.Array | None, epsilon: float) -> tuple[jax.Array, Any]:
    y = x.astype(jnp.float32)
    mean = y.mean(-1, keepdims=True)
    y = y - mean
    inverse = jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + epsilon)
    y = y * inverse * scale
    return (y if bias is None else y + bias).astype(x.dtype), (x, scale, bias, mean, inverse)


def _normalise_backward(epsilon: float, kept: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
    del epsilon
    x, scale, bias, mean, inverse = kept
    rows = tuple(range(x.ndim - 1))
    normalised = lambda x: (x.astype(jnp.float32) - mean) * inverse
    summed = apart(gradient).astype(jnp.float32)
    of_scale, of_bias = (summed * normalised(apart(x))).sum(rows), None if bias is None else summed.sum(rows)
    normal, gradient = normalised(x), gradient.astype(jnp.float32) * scale
    along = normal * (gradient * normal).mean(-1, keepdims=True)
    of_x = inverse * (gradient - gradient.mean(-1, keepdims=True) - along)
    return of_x.astype(x.dtype), of_scale, of_bias


normalise.defvjp(_normalise_forward, _normalise_backward)


class Table(nnx.Module):
    """One row of E numbers (D without factorisation) for each index below `size`.

    The parameter may also hold one table per batch shard, [n, size, E].
    """

    def __init__(self, size: int, model: Model, rngs: nnx.Rngs, axis: str | None = None):
        self.embedding = nnx.Param(
            truncated_normal(rngs.params(), (size, model.table_width), model.init_std), axes=(axis, "embed")
        )

    def __call__(self, indices: jax.Array) -> jax.Array:
        """indices int [B, ...] → float32 [B, ..., E]."""
        table = self.embedding[...]
        if table.ndim == 2:
            return table[indices]
        return jax.vmap(lambda rows, of: rows[of])(table, in_parts(indices, len(table))).reshape(*indices.shape, -1)


def in_parts(x: jax.Array, parts: int) -> jax.Array:
    """x [B, ...] → [parts, B / parts, ...], along the batch sharding, so that no data moves."""
    return x.reshape(parts, -1, *x.shape[1:])


def constrain_batch(x: jax.Array) -> jax.Array:
    """Pins activations x [B, ...] to the batch sharding, so that XLA gathers weights instead of resharding them."""
    return x if batch_shards(jax.sharding.get_abstract_mesh()) == 1 else jax.lax.with_sharding_constraint(x, rows())


def truncated_normal(key: jax.Array, shape: Sequence[int], std: float) -> jax.Array:
    """A normal cut at two standard deviations, as BERT's initialiser: `std` is that of the uncut normal."""
    return std * jax.random.truncated_normal(written_out(key), -2.0, 2.0, shape, jnp.float32)


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zeroes a share `rate` of x [B, ..., D] and scales the rest by 1 / (1 − rate); x itself without a key."""
    if key is None or rate == 0.0:
        return x
    return jnp.where(dropout_mask(x.shape, rate, key), x / (1 - rate), 0).astype(x.dtype)


def dropout_mask(shape: tuple[int, ...], rate: float, key: jax.Array) -> jax.Array:
    """Which numbers dropout keeps, bool [B, ..., D].

    They depend on the key and the global shape alone, not on the mesh.
    """
    return random_bits(key, shape) >= round(rate * 2**16)


def random_bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """uint16 [B, ..., D], all independent: four from each hash (Threefry), where `jax.random.bits` draws one.

    Each hash is of the row's number in the global batch and the position in the row, independent of the mesh. Kept
    from fusing with its uses, since XLA would recompute each hash for each of its four numbers.
    """
    axis = max(1, len(shape) - 2)  # along which the four are concatenated, in whole rows of D
    hashed = (*shape[:axis], -(-shape[axis] // 4), *shape[axis + 1 :])
    row = jax.lax.broadcasted_iota(jnp.uint32, hashed, 0) + jnp.uint32(first_row(shape[0]))
    place = jax.lax.iota(jnp.uint32, math.prod(hashed[1:])).reshape(1, *hashed[1:])
    first, second = jax.random.key_data(key)[:2]
    hashes = threefry2x32_p.bind(first, second, row, jnp.broadcast_to(place, hashed))
    words = jax.lax.optimization_barrier(hashes)
    quarters = [half for word in words for half in (word.astype(jnp.uint16), (word >> 16).astype(jnp.uint16))]
    return jax.lax.slice_in_dim(jnp.concatenate(quarters, axis), 0, shape[axis], axis=axis)


def split_key(key: jax.Array | None, number: int) -> Sequence[jax.Array | None]:
    """`number` independent keys, or as many `None`."""
    return [None] * number if key is None else list(jax.random.split(key, number))


@functools.cache
def definition(module: Make, model: Model) -> tuple[Any, Any]:
    """The module's graph and its parameters as abstract shapes, made without computing anything."""
    return nnx.split(nnx.eval_shape(lambda: module(model, rngs=nnx.Rngs(params=0))), nnx.Param)


def init(module: Make, model: Model, key: jax.Array) -> dict:
    """The module's parameters: a nested dict of float32 arrays."""
    return nnx.to_pure_dict(nnx.state(module(model, rngs=nnx.Rngs(params=key)), nnx.Param))


def bind(module: Make[M], model: Model, params: dict) -> M:
    """The module with `params` in it."""
    graph, abstract = definition(module, model)
    state = jax.tree.map(lambda variable: variable, abstract)
    nnx.replace_by_pure_dict(state, params)
    return nnx.merge(graph, state)


def logical_axes(module: Make, model: Model) -> dict:
    """A nested dict as that of `init`, holding each parameter's logical axes."""
    _, abstract = definition(module, model)
    is_variable = lambda leaf: isinstance(leaf, nnx.Variable)
    return nnx.to_pure_dict(jax.tree.map(lambda v: v.replace(_Axes(v.axes)), abstract, is_leaf=is_variable))


class _Axes(tuple):
    """Tuple subclass that JAX treats as a leaf."""
