"""The encoder (Devlin et al. 2018): embeddings, a scan over stacked layers, and the parameters of its heads."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.kernels import choose, request_for
from bert_jax.modeling.attention import Context
from bert_jax.modeling.block import Block
from bert_jax.modeling.heads import MlmHead, PairHead, Pooler
from bert_jax.modeling.layers import LayerNorm, Table, bind, dropout, logical_axes, split_key
from bert_jax.modeling.layers import init as init_module
from bert_jax.variants import load

REMAT = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}


class Embeddings(nnx.Module):
    """The sum of word, position and token-type vectors, then LayerNorm (post) or nothing (pre)."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        self.word = Table(model.padded_vocab_size, model, rngs, axis="vocab")
        self.position = load("bert_jax.positions", model.positions)()(model, rngs)
        self.token_type = Table(model.token_types, model, rngs)
        self.norm = LayerNorm(model)

    def __call__(self, batch: dict[str, jax.Array]) -> jax.Array:
        """tokens, positions, token_types [B, L] → float32 [B, L, D]."""
        x = self.word(batch["tokens"].astype(jnp.int32)) + self.token_type(batch["token_types"])
        position = self.position.embed(batch["positions"])
        return self.norm(x if position is None else x + position)


class FinalNorm(LayerNorm):
    """The LayerNorm after the last layer of a pre-LN encoder."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        del rngs
        super().__init__(model)


def parts(model: Model) -> dict[str, type[nnx.Module]]:
    """The modules beside the stacked layers, by their name in the parameters."""
    optional = {"final_norm": model.norm == "pre", "pooler": model.pooler, "pair_head": model.pair_head}
    modules = {
        "embeddings": Embeddings,
        "mlm_head": MlmHead,
        "final_norm": FinalNorm,
        "pooler": Pooler,
        "pair_head": PairHead,
    }
    return {name: module for name, module in modules.items() if optional.get(name, True)}


def init(model: Model, key: jax.Array) -> dict:
    """The parameters: a nested dict of float32 arrays, layers stacked on axis 0."""
    names = [*parts(model), "layers", "init"]
    keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))
    params = {name: init_module(module, model, keys[name]) for name, module in parts(model).items()}
    layer_keys = jax.random.split(keys["layers"], model.layers)
    params["layers"] = jax.vmap(lambda layer_key: init_module(Block, model, layer_key))(layer_keys)
    return load("bert_jax.inits", model.init)()(model, params, keys["init"])


def abstract_params(model: Model) -> dict:
    """The parameters' shapes and dtypes, as `jax.ShapeDtypeStruct`s, without computing anything."""
    return jax.eval_shape(lambda: init(model, jax.random.key(0)))


def parameter_axes(model: Model) -> dict:
    """Each parameter's logical axes, in the tree of `init`."""
    axes = {name: logical_axes(module, model) for name, module in parts(model).items()}
    stacked = lambda leaf: type(leaf)(("layers", *leaf))
    axes["layers"] = jax.tree.map(stacked, logical_axes(Block, model))
    return axes


def count_parameters(model: Model) -> int:
    """Weights in the model, the vocabulary's padding not counted."""
    total = sum(x.size for x in jax.tree.leaves(abstract_params(model)))
    return total - (model.padded_vocab_size - model.vocab_size) * (model.width + 1)


def encode(
    model: Model,
    params: dict,
    batch: dict[str, jax.Array],
    key: jax.Array | None = None,
    places: jax.Array | None = None,
) -> jax.Array:
    """The hidden states of a batch.

    Args:
      batch: tokens, segments, positions and token_types, int [B, L]. Tokens attend within their segment
        (`isolate_documents`) or to everything but padding, whose segment is 0.
      key: of dropout; None for none.
      places: int [B, P], where hidden states are wanted; None for everywhere. Where the kernel can, the last layer
        then computes nothing for the other places but keys and values.

    Returns:
      [B, L, D], or [B, P, D] at the places, in the compute dtype.
    """
    embed_key, layers_key = split_key(key, 2)
    embeddings = bind(Embeddings, model, params["embeddings"])
    length = batch["tokens"].shape[1]
    request = request_for(model, length, dropout=key is not None)
    _, kernel = choose(model, request)
    context = Context(
        segments=batch["segments"] if model.isolate_documents else (batch["segments"] > 0).astype(jnp.int32),
        scheme=embeddings.position,
        tables=embeddings.position.tables(length),
        kernel=kernel,
    )

    def layer(x: jax.Array, inputs: Any, context: Context = context) -> tuple[jax.Array, None]:
        layer_params, layer_key = inputs
        return bind(Block, model, layer_params)(x, context, layer_key), None

    x = dropout(embeddings(batch), model.dropout, embed_key).astype(model.dtype)
    layers = (params["layers"], None if layers_key is None else jax.random.split(layers_key, model.layers))
    at_places = context._replace(places=places)
    if places is not None and kernel.fewer_queries and not request.relative:
        x, _ = jax.lax.scan(remat(layer, model), x, jax.tree.map(lambda p: p[:-1], layers), unroll=model.unroll)
        x, _ = layer(x, jax.tree.map(lambda p: p[-1], layers), at_places)
    else:
        x, _ = jax.lax.scan(remat(layer, model), x, layers, unroll=model.unroll)
        x = at_places.at_places(x)
    return bind(FinalNorm, model, params["final_norm"])(x) if model.norm == "pre" else x


def remat(layer: Any, model: Model) -> Any:
    """The layer, with what `model.remat` says computed again in the backward pass."""
    if model.remat == "none":
        return layer
    return jax.checkpoint(layer, policy=REMAT[model.remat], prevent_cse=False)
