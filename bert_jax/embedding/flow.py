"""BERT-flow: an invertible map from frozen vectors to a standard normal (Li et al. 2020, arXiv 2011.05864, section 3).

As there, Glow (Kingma and Dhariwal 2018, arXiv 1807.03039) with additive coupling and random permutations: each step
scales and shifts every number (actnorm), permutes them, and adds to the second half a network of the first. Fit by
maximum likelihood; the encoder does not learn. sentence-transformers has no module for it: `bert_jax.flow` makes
vectors of vectors.
"""

import functools
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from configuration.files import atomic_write
from configuration.variants import ConfigError, require
from data_pipeline.errors import DataError

INITIAL = 4096  # vectors from which actnorm starts
BLOCK = 8192  # vectors on the device at once


class Flow(NamedTuple):
    """S steps over vectors of D numbers; the network has H hidden units. All arrays float32 but the permutation."""

    shift: Any  # [S, D], added first
    log_scale: Any  # [S, D]
    permutation: Any  # int32 [S, D], the source index of each number
    kernel_in: Any  # [S, D // 2, H]
    bias_in: Any  # [S, H]
    kernel_out: Any  # [S, H, D − D // 2]
    bias_out: Any  # [S, D − D // 2]


def forward(flow: Flow, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x float32 [n, D] → z [n, D], and the log-determinant of the map, the same for every vector."""

    def step(x: jax.Array, own: Flow) -> tuple[jax.Array, jax.Array]:
        x = ((x + own.shift) * jnp.exp(own.log_scale))[:, own.permutation]
        first, second = jnp.split(x, [x.shape[1] // 2], axis=1)
        return jnp.concatenate([first, second + network(own, first)], axis=1), own.log_scale.sum()

    z, determinants = jax.lax.scan(step, x, flow)
    return z, determinants.sum()


def inverse(flow: Flow, z: jax.Array) -> jax.Array:
    """z [n, D] → x [n, D]: undoes `forward`."""

    def step(z: jax.Array, own: Flow) -> tuple[jax.Array, None]:
        first, second = jnp.split(z, [z.shape[1] // 2], axis=1)
        x = jnp.concatenate([first, second - network(own, first)], axis=1)
        return x[:, jnp.argsort(own.permutation)] * jnp.exp(-own.log_scale) - own.shift, None

    return jax.lax.scan(step, z, flow, reverse=True)[0]


def network(own: Flow, first: jax.Array) -> jax.Array:
    """What a step adds to the second half, [n, D − D // 2], by the first half [n, D // 2]."""
    product = functools.partial(jnp.matmul, precision="highest")
    return product(jax.nn.relu(product(first, own.kernel_in) + own.bias_in), own.kernel_out) + own.bias_out


def log_likelihood(flow: Flow, x: jax.Array) -> jax.Array:
    """x [n, D] → [n]: log of the density of each vector, in nats."""
    z, determinant = forward(flow, x)
    return determinant - 0.5 * (jnp.square(z).sum(-1) + z.shape[1] * jnp.log(2 * jnp.pi))


def begin(x: np.ndarray, steps: int, hidden: int, seed: int) -> Flow:
    """A flow whose steps each normalise x [n, D] to mean 0 and variance 1, and whose networks add nothing yet."""
    rng, width = np.random.default_rng(seed), x.shape[1]
    half, rest = width // 2, width - width // 2
    x, made = np.asarray(x, np.float64), []
    for _ in range(steps):
        shift, log_scale = -x.mean(0), -np.log(np.maximum(x.std(0), 1e-6))
        permutation = rng.permutation(width).astype(np.int32)
        x = ((x + shift) * np.exp(log_scale))[:, permutation]
        kernel_in = rng.normal(0, 1 / np.sqrt(half), (half, hidden))
        made.append(
            (shift, log_scale, permutation, kernel_in, np.zeros(hidden), np.zeros((hidden, rest)), np.zeros(rest))
        )
    stacked = [np.stack(arrays) for arrays in zip(*made, strict=True)]
    return Flow(*(array if array.dtype == np.int32 else array.astype(np.float32) for array in stacked))


def fit(
    vectors: np.ndarray,
    *,
    steps: int = 8,
    hidden: int = 0,
    epochs: float = 1.0,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> tuple[Flow, list[float]]:
    """Fits a flow by maximum likelihood; also returns the mean log-likelihood of each batch, in nats.

    Args:
      vectors: float [n, D], as pooling gives them, not normalised; may be a memory map.
      steps: S; BERT-flow's Glow has levels of several.
      hidden: H; 0 for D.
      epochs: passes over the vectors.
      learning_rate: Adam's, with linear decay to zero.

    Raises:
      ConfigError: an option out of range.
      DataError: too few vectors, or vectors of one number.
    """
    require(steps >= 1, "steps", steps, "at least 1")
    require(epochs > 0, "epochs", epochs, "above 0")
    number, width = vectors.shape
    if number < 2 or width < 2:
        raise DataError(f"a flow is fit on vectors of two numbers or more; there are {number:,} of {width}")
    rng, batch_size = np.random.default_rng(seed), min(batch_size, number)
    some = np.sort(rng.choice(number, min(number, INITIAL), replace=False))
    flow = begin(np.asarray(vectors[some]), steps, hidden or width, seed)
    updates = max(1, round(epochs * number / batch_size))
    optimizer = optax.chain(
        optax.clip_by_global_norm(100.0), optax.adam(optax.linear_schedule(learning_rate, 0.0, updates))
    )
    permutation, params = flow.permutation, flow._replace(permutation=None)

    @jax.jit
    def update(params: Flow, state: Any, x: jax.Array) -> tuple[Flow, Any, jax.Array]:
        loss = lambda params: -log_likelihood(params._replace(permutation=permutation), x).mean()
        value, gradient = jax.value_and_grad(loss)(params)
        changes, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, changes), state, -value

    state, found = optimizer.init(params), []
    for _ in range(updates):
        batch = np.sort(rng.choice(number, batch_size, replace=False))
        params, state, value = update(params, state, np.asarray(vectors[batch], np.float32))
        found.append(value)
    figures = [float(value) for value in jax.device_get(found)]
    if not np.isfinite(figures[-1]):
        raise ConfigError(f"the flow diverged; learning_rate is {learning_rate:g}: lower it")
    return Flow(*(np.asarray(array) for array in params._replace(permutation=permutation))), figures


_forward = jax.jit(forward)


def apply(flow: Flow, vectors: np.ndarray) -> np.ndarray:
    """Vectors float [n, D] → float32 [n, D], in blocks.

    Raises:
      ConfigError: vectors of another width than the flow's.
    """
    check_width(flow, vectors)
    blocks = range(0, len(vectors), BLOCK)
    return np.concatenate([_forward(flow, np.asarray(vectors[b : b + BLOCK], np.float32))[0] for b in blocks])


def check_width(flow: Flow, vectors: np.ndarray) -> None:
    """Raises ConfigError for vectors of another width than the flow's."""
    width = flow.shift.shape[1]
    if vectors.shape[1] != width:
        raise ConfigError(f"the flow is for vectors of {width} numbers; these have {vectors.shape[1]}")


def save(flow: Flow, path: Path) -> None:
    """Writes the flow as an .npz file, atomically."""
    with atomic_write(path) as file:
        np.savez(file, **flow._asdict())


def read(path: Path) -> Flow:
    """The flow of a file.

    Raises:
      DataError: no such file, or one that holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Flow(**{name: arrays[name] for name in Flow._fields})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as a flow: {str(error).splitlines()[0]}") from None
