"""Cross-entropy with a gradient that reads the logits once."""

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, targets: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """logits float32 [..., V], targets and weights [...] → weighted sums of −log p and of the right answers."""
    surprise, largest = _surprise(logits, targets)
    correct = _at(logits, targets) == largest
    return (surprise * weights).sum(), (correct * weights).sum()


@jax.custom_vjp
def _surprise(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """−log p(target) [...], and the largest logit [...], which has no gradient."""
    return _forward(logits, targets)[0]


def _forward(logits: jax.Array, targets: jax.Array) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, ...]]:
    largest = logits.max(-1)
    total = jnp.exp(logits - largest[..., None]).sum(-1)
    return (jnp.log(total) + largest - _at(logits, targets), largest), (logits, largest, total, targets)


def _backward(residuals: tuple[jax.Array, ...], gradients: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    """p − 1 at the target and p elsewhere, in one pass; JAX's own makes an array of zeros to scatter the ones into."""
    logits, largest, total, targets = residuals
    p = jnp.exp(logits - largest[..., None]) / total[..., None]
    here = jnp.arange(logits.shape[-1]) == targets[..., None]
    return (p - here) * gradients[0][..., None], None


_surprise.defvjp(_forward, _backward)


def _at(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """[...]: the target's logit."""
    return jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
