"""Sinusoids of positions, and pairs of numbers turned by their angles (Vaswani et al. 2017, section 3.5)."""

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from configuration.variants import ConfigError


def check_pairs(model: Model) -> None:
    """Raises ConfigError where heads cannot be divided into pairs."""
    if model.head_size % 2:
        raise ConfigError(
            f"config.model.heads is {model.heads}: heads of {model.head_size} cannot hold "
            f"pairs of sine and cosine; the head size must be even for {model.positions.name} positions"
        )


def rotate(x: jax.Array, table: jax.Array, sign: int) -> jax.Array:
    """Turns each pair (sine, cosine) of x [B, L, N, H] by `sign` times the angles of table [L, H] or [B, L, H]."""
    pairs = lambda even, odd: jnp.stack([even, odd], -1).reshape(table.shape)[..., None, :]
    sine, cosine = sign * table[..., 0::2], table[..., 1::2]
    turned = x * pairs(cosine, cosine) + exchange(x) * pairs(-sine, sine)
    return turned.astype(x.dtype)


def exchange(x: jax.Array) -> jax.Array:
    """x [..., H] with the two of each pair (2m, 2m + 1) exchanged, float32."""
    if x.dtype != jnp.float32:
        return _by_product(x)
    return jax.lax.platform_dependent(x, cpu=_by_neighbours, default=_by_product)


def _by_product(x: jax.Array) -> jax.Array:
    """An exact product with a permutation: strided columns, which say the same, cost a TPU half a training step."""
    size = x.shape[-1]
    swap = jnp.eye(size, dtype=x.dtype)[jnp.arange(size) ^ 1]
    return jnp.matmul(x, swap, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)


def _by_neighbours(x: jax.Array) -> jax.Array:
    """Each number's neighbour to the right or to the left, in one loop with what is done to it."""
    first = jnp.arange(x.shape[-1]) % 2 == 0
    return jnp.where(first, jnp.roll(x, -1, -1), jnp.roll(x, 1, -1))


def sinusoids(positions: jax.Array, size: int, base: float = 10000.0) -> jax.Array:
    """positions [...] → [..., size]: column 2m is sin(p w_m), column 2m+1 cos(p w_m), with w_m = base^(−2m/size)."""
    pairs = jnp.arange((size + 1) // 2, dtype=jnp.float32)
    angles = positions[..., None].astype(jnp.float32) * base ** (-2.0 * pairs / size)
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], -1).reshape(*positions.shape, -1)[..., :size]
