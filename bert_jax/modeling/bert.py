"""The encoder (Devlin et al. 2018): embeddings and a scan over stacked layers.

With `model.sharing` (ALBERT, Lan et al. 2019, arXiv 1909.11942, section 3.1) the stack holds what is shared once for
each group of neighbouring layers.
"""

import dataclasses
import functools
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.attention import Context
from bert_jax.modeling.block import Block
from bert_jax.modeling.kernels import choose, request_for
from bert_jax.modeling.layers import Dense, LayerNorm, Table, bind, constrain_batch, dropout, split_key
from bert_jax.modeling.parts import Part, Parts, of_module, size, stack, together
from bert_jax.modeling.products import PRODUCT
from bert_jax.modeling.visibility import Visibility, within
from configuration.variants import load

REMAT = {
    "dots": jax.checkpoint_policies.save_only_these_names(PRODUCT),
    "full": jax.checkpoint_policies.nothing_saveable,
}
Layer = Callable[[jax.Array, dict, Any, jax.Array], jax.Array]  # x, its parameters, its dropout key, its number
PARTS = ("attention", "mlp")  # of a layer, each with its LayerNorm


class Embeddings(nnx.Module):
    """The sum of word, position and token-type vectors, LayerNorm, dropout; factorised, a dense layer from E to D.

    A pre-LN encoder has no LayerNorm here: its first layer's does that.
    """

    def __init__(self, model: Model, rngs: nnx.Rngs):
        self.word = Table(model.padded_vocab_size, model, rngs, axis="vocab")
        self.scheme = load("bert_jax.modeling.positions", model.positions)(model)
        self.position = self.scheme.shared(rngs)
        self.token_type = Table(model.token_types, model, rngs) if model.token_types else None
        self.norm = LayerNorm(model, model.table_width) if model.norm == "post" else None
        shape, axes = (model.embedding_width, model.width), (None, "embed")
        self.projection = Dense(shape, axes, model, rngs) if model.embedding_width else None
        self.rate = model.dropout

    def __call__(self, batch: dict[str, jax.Array], key: jax.Array | None = None) -> jax.Array:
        """tokens, positions, token_types [B, L] → [B, L, D]."""
        x = self.word(batch["tokens"].astype(jnp.int32))
        if self.token_type is not None:
            x = x + self.token_type(batch["token_types"])
        position = self.scheme.embed(batch["positions"], self.position)
        x = x if position is None else x + position
        x = dropout(x if self.norm is None else self.norm(x), self.rate, key)
        return x if self.projection is None else self.projection(x)


class FinalNorm(LayerNorm):
    """The LayerNorm after the last layer of a pre-LN encoder."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        del rngs
        super().__init__(model)


def encoder_parts(model: Model) -> Parts:
    """The encoder's parts, by their names in the parameters."""
    shared_or_own = lambda name: model.groups if name in shared(model) else model.layers
    stacks = {name: stack(part, shared_or_own(name)) for name, part in layer_parts(model).items()}
    parts = {"embeddings": of_module(Embeddings, model), "layers": together(stacks)}
    return parts | ({"final_norm": of_module(FinalNorm, model)} if model.norm == "pre" else {})


def layer_parts(model: Model) -> Parts:
    """The parts of one layer."""
    block = of_module(Block, model)
    of = lambda name: Part(lambda key: block.init(key)[name], lambda: block.axes()[name])
    return {name: of(name) for name in PARTS}


def shared(model: Model) -> tuple[str, ...]:
    """The parts of a layer whose weights the layers of a group share."""
    return {"none": (), "all": PARTS}.get(model.sharing, (model.sharing,))


def init(model: Model, key: jax.Array, heads: Parts = MappingProxyType({})) -> dict:
    """The parameters: a nested dict of float32 arrays, layers (or groups of them, where shared) stacked on axis 0.

    Args:
      heads: what is trained beside the encoder, such as `objectives.parts_of(config)`.
    """
    parts_key, init_key = jax.random.split(key)
    params = together({**encoder_parts(model), **heads}).init(parts_key)
    return load("bert_jax.modeling.inits", model.init)()(model, params, init_key)


def abstract_params(model: Model, heads: Parts = MappingProxyType({})) -> dict:
    """The parameters' shapes and dtypes, as `jax.ShapeDtypeStruct`s, without computing anything."""
    return jax.eval_shape(lambda: init(model, jax.random.key(0), heads))


def parameter_axes(model: Model, heads: Parts = MappingProxyType({})) -> dict:
    """Each parameter's logical axes, in the tree of `init`."""
    return together({**encoder_parts(model), **heads}).axes()


def count_parameters(model: Model, heads: Parts = MappingProxyType({})) -> int:
    """Weights in the model, the vocabulary's padding not counted."""
    vocabulary = model.table_width + ("mlm_head" in heads)  # numbers a word: its embedding, and the head's bias
    padding = (model.padded_vocab_size - model.vocab_size) * vocabulary
    return size(abstract_params(model, heads)) - padding


def encode(
    model: Model,
    params: dict,
    batch: dict[str, jax.Array],
    key: jax.Array | None = None,
    places: jax.Array | None = None,
    visibility: Visibility | None = None,
    every_layer: bool = False,
) -> jax.Array:
    """The hidden states of a batch.

    Args:
      batch: tokens, segments, positions and token_types, int [B, L].
      key: of dropout; None for none.
      places: int [B, P], where hidden states are wanted; None for everywhere. Where the kernel can, the last layer
        then computes nothing for the other places but keys and values.
      visibility: what each token sees; None for its own segment (`isolate_documents`) or everything but padding, whose
        segment is 0.
      every_layer: the states after each layer, first to last; not with places. Only the last has a pre-LN encoder's
        final LayerNorm.

    Returns:
      [B, L, D], or [B, P, D] at the places, or [n, B, L, D] of every layer, in the compute dtype.
    """
    embed_key, layers_key = split_key(key, 2)
    embeddings = bind(Embeddings, model, params["embeddings"])
    length = batch["tokens"].shape[1]
    if visibility is None:
        visibility = within(batch["segments"] if model.isolate_documents else (batch["segments"] > 0).astype(jnp.int32))
    chosen = choose(model, request_for(model, length, key is not None, visibility))
    tables = chosen.form.tables(batch["positions"], embeddings.position)
    context = Context(visibility, chosen.form, tables, chosen.kernel)

    def layer(
        x: jax.Array, params: dict, key: jax.Array | None, number: jax.Array, context: Any = context
    ) -> jax.Array:
        return constrain_batch(bind(Block, model, params)(x, context, key, number == 0))

    normalise = lambda x: bind(FinalNorm, model, params["final_norm"])(x)
    x = constrain_batch(embeddings(batch, embed_key).astype(model.dtype))
    keys = None if layers_key is None else jax.random.split(layers_key, model.layers)
    if every_layer:
        states = run_layers(model, remat(layer, model), None, x, params["layers"], keys, every_layer=True)
        last = normalise(states[-1:]) if model.norm == "pre" else states[-1:]
        return jnp.concatenate([states[:-1], last])
    at_places = context._replace(places=places)
    fewer = dataclasses.replace(chosen.request, elsewhere=True)
    if places is not None and chosen.kernel.unsupported(fewer) is None:
        x = run_layers(
            model, remat(layer, model), functools.partial(layer, context=at_places), x, params["layers"], keys
        )
    else:
        x = at_places.at_places(run_layers(model, remat(layer, model), None, x, params["layers"], keys))
    return normalise(x) if model.norm == "pre" else x


def run_layers(
    model: Model,
    layer: Layer,
    last: Layer | None,
    x: jax.Array,
    params: dict,
    keys: Any,
    *,
    every_layer: bool = False,
) -> jax.Array:
    """x [B, L, D] through all layers, of which the very last may be computed by a function of its own.

    Args:
      params: of the layers, the tree's "layers".
      keys: one for each layer, or None.
      every_layer: gives [n, B, L, D], what comes out of each layer; without a function for the last.
    """
    common = {part: params[part] for part in shared(model)}
    own = ({part: params[part] for part in PARTS if part not in common}, keys, jnp.arange(model.layers))
    own = jax.tree.map(lambda p: p.reshape(model.groups, -1, *p.shape[1:]), own)

    def stretch(x: jax.Array, group: Any) -> tuple[jax.Array, jax.Array | None]:
        """Through the layers of one group; what comes out of each, if that is wanted."""
        common, own = group

        def step(x: jax.Array, own: Any) -> tuple[jax.Array, jax.Array | None]:
            x = layer(x, common | own[0], *own[1:])
            return x, x if every_layer else None

        return jax.lax.scan(step, x, own, unroll=model.unroll)

    if every_layer:
        _, states = jax.lax.scan(stretch, x, (common, own))
        assert states is not None
        return states.reshape(model.layers, *x.shape)
    if model.groups > 1:
        x, _ = jax.lax.scan(stretch, x, _at((common, own), slice(-1)))
    common, own = _at((common, own), -1)
    if last is None:
        return stretch(x, (common, own))[0]
    x, _ = stretch(x, (common, _at(own, slice(-1))))
    layer_params, *rest = _at(own, -1)
    return last(x, common | layer_params, *rest)


def _at(tree: Any, index: int | slice) -> Any:
    """Each array of the tree at a place, or at some, of axis 0."""
    return jax.tree.map(lambda p: p[index], tree)


def remat(layer: Any, model: Model) -> Any:
    """The layer, with what `model.remat` says computed again in the backward pass."""
    if model.remat == "none":
        return layer
    return jax.checkpoint(layer, policy=REMAT[model.remat], prevent_cse=False)
