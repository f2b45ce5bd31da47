"""Matrix products with gradients of their own, each written as the compilers do it best.

XLA's CPU compiler has fast kernels for bf16 (twice the speed of float32 where the processor has such instructions) only
where sums stay float32 and rows are read along; anything else it turns into float32. Accelerators need none of this.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

PRODUCT = "product"  # by which a rematerialisation policy knows what `affine` gives
Operands = tuple[jax.Array, jax.Array, jax.Array | None]


def affine(x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None, contract: int = 1) -> jax.Array:
    """x [..., *C] · kernel [*C, *R] + bias [*R] → [..., *R], over the first `contract` axes C of the kernel.

    Args:
      x: of the kernel's dtype, in which the result is too.
      bias: float32, and so is its gradient, a sum over all rows.
    """
    return checkpoint_name(_affine(x, kernel, bias, contract), PRODUCT)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _affine(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, contract: int) -> jax.Array:
    y = dot(x, kernel, range(x.ndim - contract, x.ndim), range(contract))
    return y if bias is None else y + bias.astype(y.dtype)


def _forward(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, contract: int) -> tuple[jax.Array, Operands]:
    return _affine(x, kernel, bias, contract), (x, kernel, bias)


def _backward(contract: int, operands: Operands, gradient: jax.Array) -> Operands:
    x, kernel, bias = operands
    rows = x.ndim - contract  # axes, such as B and L
    of_x = dot(gradient, kernel, range(rows, gradient.ndim), range(contract, kernel.ndim))
    of_bias = None if bias is None else apart(gradient).sum(tuple(range(rows)), dtype=jnp.float32)
    return of_x, over_rows(x, gradient, rows), of_bias


_affine.defvjp(_forward, _backward)


def apart(x: jax.Array) -> jax.Array:
    """x materialised in memory, not fused into its uses.

    XLA's GPU compiler puts a sum over x's rows into the loop that makes x, and then takes twice as long for both; and
    where layers lie side by side it keeps what the forward pass made of x, in float32, if the backward pass makes the
    same.
    """
    return jax.lax.platform_dependent(x, cuda=jax.lax.optimization_barrier, default=lambda x: x)


def dot(x: jax.Array, y: jax.Array, of_x: Sequence[int], of_y: Sequence[int]) -> jax.Array:
    """x · y summed over these axes of each, in their dtype."""
    axes = (tuple(of_x), tuple(of_y)), ((), ())
    plain = lambda x, y: jax.lax.dot_general(x, y, axes)
    summed = lambda x, y: jax.lax.dot_general(x, y, axes, preferred_element_type=jnp.float32).astype(x.dtype)
    return plain(x, y) if x.dtype == jnp.float32 else jax.lax.platform_dependent(x, y, cpu=summed, default=plain)


def over_rows(x: jax.Array, gradient: jax.Array, rows: int = 1) -> jax.Array:
    """A kernel's gradient: x [*rows, *C], gradient [*rows, *R] → [*C, *R], in their dtype; `rows` says how many axes.

    JAX's own comes out transposed: twice the time with XLA's CPU compiler. The rows in one axis, since XLA would
    transpose x for a sum over two.
    """
    x, gradient = (a.reshape(-1, *a.shape[rows:]) for a in (x, gradient))
    plain = lambda x, gradient: jax.lax.dot_general(x, gradient, (((0,), (0,)), ((), ())))
    if x.dtype == jnp.float32:
        return plain(x, gradient)
    return jax.lax.platform_dependent(x, gradient, cpu=_along_columns, default=plain)


def _along_columns(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """x [n, *C], gradient [n, *R] → [*C, *R] by x transposed, in a batch of one, or XLA would undo it."""
    columns = jax.lax.optimization_barrier(x.reshape(len(x), -1).T)[None]
    axes = ((2,), (1,)), ((0,), (0,))
    rows = gradient.reshape(1, len(x), -1)
    product = jax.lax.dot_general(columns, rows, axes, preferred_element_type=jnp.float32)
    return product.astype(x.dtype).reshape(*x.shape[1:], *gradient.shape[1:])
