"""Counts the multiplications and additions of a traced function's matrix products, loops and kernels included."""

import math
from collections.abc import Iterator
from typing import Any


def matmul_flops(jaxpr: Any) -> float:
    """Floating-point operations of every matrix product, on all devices together; one multiply-add is two.

    A loop counts as often as it runs (`while`, whose count is unknown, once), of branches the dearest, a Pallas
    kernel once for each place of its grid.
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
    if name == "shard_map":  # inside it shapes are those of one device
        return params["mesh"].size
    return 1


def jaxprs_in(values: Any) -> Iterator[Any]:
    """The jaxprs among an equation's parameters."""
    for value in values:
        if hasattr(value, "eqns"):
            yield value
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr
        elif isinstance(value, (tuple, list)):
            yield from jaxprs_in(value)
