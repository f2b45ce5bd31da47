"""Self-attention: one position scheme and one kernel, composed."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.kernels import Kernel
from bert_jax.modeling.layers import Dense
from bert_jax.positions import Positions


class Attention(nnx.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2), without the residual."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        shape, axes = (model.width, model.heads, model.head_size), ("embed", "heads", None)
        self.query = Dense(shape, axes, model, rngs)
        self.key = Dense(shape, axes, model, rngs)
        self.value = Dense(shape, axes, model, rngs)
        self.output = Dense(
            (model.heads, model.head_size, model.width), ("heads", None, "embed"), model, rngs, contract=2
        )
        self.scale = model.head_size**-0.5
        self.rate = model.attention_dropout

    def __call__(
        self,
        x: jax.Array,
        segments: jax.Array,
        scheme: Positions,
        tables: Any,
        kernel: Kernel,
        key: jax.Array | None,
    ) -> jax.Array:
        """x [B, L, D], segments [B, L] → [B, L, D]."""
        q, k, v = project((self.query, self.key, self.value), x)
        q, k, v = scheme.before(q, k, v, tables)
        relative = scheme.relative(tables)
        out = kernel.attend(q, k, v, segments, scale=self.scale, relative=relative, rate=self.rate, key=key)
        return self.output(scheme.after(out, tables))


def project(layers: tuple[Dense, ...], x: jax.Array) -> list[jax.Array]:
    """Several layers of one shape on the same x [B, L, D] in a single matrix product; each gives [B, L, N, H]."""
    dtype = layers[0].dtype
    kernel = jnp.stack([layer.kernel[...] for layer in layers], axis=1).astype(dtype)
    bias = jnp.stack([layer.bias[...] for layer in layers]).astype(dtype)
    together = jnp.einsum("bld,dsnh->blsnh", x.astype(dtype), kernel) + bias
    return [together[:, :, i] for i in range(len(layers))]
