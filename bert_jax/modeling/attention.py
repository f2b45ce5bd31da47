"""Self-attention: one form of a position scheme and one kernel, composed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.kernels import Kernel
from bert_jax.modeling.layers import Dense
from bert_jax.modeling.positions import Form
from bert_jax.modeling.products import affine
from bert_jax.modeling.visibility import Visibility
from configuration.variants import load


class Context(NamedTuple):
    """What every layer of a forward pass shares."""

    visibility: Visibility
    form: Form  # of the position scheme
    tables: Any  # the form's own, for this length
    kernel: Kernel
    places: jax.Array | None = None  # int [B, P]: compute the layer's output there only
    kernel_takes_places: bool = True  # False: the kernel needs the queries of all positions

    @property
    def query_places(self) -> jax.Array | None:
        """The positions whose queries the kernel is given; None for all."""
        return self.places if self.kernel_takes_places else None

    def at_places(self, x: jax.Array) -> jax.Array:
        """x [B, L, ...] → [B, P, ...], or x for all positions."""
        if self.places is None:
            return x
        return jnp.take_along_axis(x, self.places.reshape(*self.places.shape, *(1,) * (x.ndim - 2)), axis=1)


class Attention(nnx.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2), without the residual."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        shape, axes = (model.width, model.heads, model.head_size), ("embed", "heads", None)
        self.query = Dense(shape, axes, model, rngs)
        self.key = Dense(shape, axes, model, rngs)
        self.value = Dense(shape, axes, model, rngs)
        output = (model.heads, model.head_size, model.width)
        self.output = Dense(output, ("heads", None, "embed"), model, rngs, contract=2)
        self.position = load("bert_jax.modeling.positions", model.positions)(model).own(rngs)
        self.scale = model.head_size**-0.5
        self.rate = model.attention_dropout

    def __call__(self, x: jax.Array, context: Context, key: jax.Array | None) -> jax.Array:
        """x [B, L, D] → [B, L, D], or [B, P, D] at the context's positions."""
        form, tables, visibility = context.form, context.tables, context.visibility
        places = context.query_places
        if places is None:
            q, k, v = project((self.query, self.key, self.value), x)
        else:
            tables, visibility = form.select_queries(tables, places), visibility.at(places)
            (q,), (k, v) = project((self.query,), context.at_places(x)), project((self.key, self.value), x)
        tables = form.of_layer(tables, self.query, self.key)
        q, k, v = form.transform_qkv(q, k, v, tables, self.position)
        addition = form.addition(tables, self.position)
        out = context.kernel.attend(q, k, v, visibility, scale=self.scale, addition=addition, rate=self.rate, key=key)
        out = form.transform_output(out, tables)
        return self.output(context.at_places(out) if places is None else out)


def project(layers: tuple[Dense, ...], x: jax.Array) -> list[jax.Array]:
    """Several projections of the same x [B, L, D] in a single matrix product; each gives [B, L, N, H].

    The heads come first among the columns, so that a mesh that splits them splits the columns alike.
    """
    dtype, width = layers[0].dtype, x.shape[-1]
    kernels = jnp.stack([layer.kernel[...] for layer in layers], axis=2)  # [D, N, n, H]
    shape = kernels.shape[1:]
    biases = [layer.bias[...] for layer in layers if layer.bias is not None]
    bias = jnp.stack(biases, axis=1).reshape(-1) if biases else None
    together = affine(x.astype(dtype), kernels.reshape(width, -1).astype(dtype), bias)
    return [one[..., 0, :] for one in jnp.split(together.reshape(*x.shape[:-1], *shape), len(layers), axis=-2)]
