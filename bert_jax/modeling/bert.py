"""The encoder (Devlin et al. 2018): embeddings and a scan over stacked layers.

With `model.sharing` (ALBERT, Lan et al. 2019, arXiv 1909.11942, section 3.1) the stack holds what is shared once for
each group of neighbouring layers.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling.attention import Context
from bert_jax.modeling.block import Block
from bert_jax.modeling.choice import choose, platform, request_for
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
MOST_ON_CPU = 12  # layers, each of which takes a second to compile
PARTS = ("attention", "mlp")  # of a layer, each with its LayerNorm


class Embeddings(nnx.Module):
    """The sum of word, position, type and task vectors, LayerNorm, dropout; factorised, a dense layer from E to D.

    A pre-LN encoder has no LayerNorm here: its first layer's does that.
    """

    def __init__(self, model: Model, rngs: nnx.Rngs):
        self.word = Table(model.padded_vocab_size, model, rngs, axis="vocab")
        self.scheme = load("bert_jax.modeling.positions", model.positions)(model)
        self.position = self.scheme.shared(rngs)
        self.token_type = Table(model.token_types, model, rngs) if model.token_types else None
        self.task_type = Table(model.task_types, model, rngs) if model.task_types else None
        self.norm = LayerNorm(model, model.table_width) if model.norm == "post" else None
        shape, axes = (model.embedding_width, model.width), (None, "embed")
        self.projection = Dense(shape, axes, model, rngs) if model.embedding_width else None
        self.rate = model.dropout

    def __call__(self, batch: dict[str, jax.Array], key: jax.Array | None = None) -> jax.Array:
        """tokens, positions, token_types [B, L], and task_types unless all are 0 → [B, L, D]."""
        x = self.word(batch["tokens"].astype(jnp.int32))
        if self.token_type is not None:
            x = x + self.token_type(batch["token_types"])
        if self.task_type is not None:
            x = x + self.task_type(batch.get("task_types", jnp.zeros_like(batch["tokens"])))
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


def lengthened(model: Model, length: int) -> Model:
    """The same encoder with room for rows of `length` tokens, unless its positions end before."""
    longest = load("bert_jax.modeling.positions", model.positions)(model).longest
    return model if longest else dataclasses.replace(model, max_length=max(model.max_length, length))


def count_parameters(model: Model, heads: Parts = MappingProxyType({})) -> int:
    """Weights in the model, the vocabulary's padding not counted."""
    params = abstract_params(model, heads)
    axes = jax.tree.leaves(parameter_axes(model, heads))
    of_words = [x for x, axes in zip(jax.tree.leaves(params), axes, strict=True) if "vocab" in axes]
    padding = model.padded_vocab_size - model.vocab_size
    return size(params) - padding * size(of_words) // model.padded_vocab_size


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
      batch: tokens, segments, positions and token_types, int [B, L]; with `model.task_types`, task_types too, or all 0.
      key: of dropout; None for none.
      places: int [B, P], positions of the hidden states that are wanted; None for all. For the other positions the last
        layer then computes keys and values alone, and queries and attention if its kernel needs all queries.
      visibility: what each token sees; None for its own segment (`isolate_documents`) or everything but padding, whose
        segment is 0.
      every_layer: the states after each layer, first to last; not with places. Only the last has a pre-LN encoder's
        final LayerNorm.

    Returns:
      [B, L, D], or [B, P, D] at these positions, or [n, B, L, D] of every layer, in the compute dtype.
    """
    embed_key, layers_key = split_key(key, 2)
    embeddings = bind(Embeddings, model, params["embeddings"])
    if visibility is None:
        visibility = within(batch["segments"] if model.isolate_documents else (batch["segments"] > 0).astype(jnp.int32))
    ask = lambda local: request_for(model, batch["tokens"].shape[1], key is not None, visibility, local)
    chosen = {local: choose(model, ask(local)) for local in set(model.pattern)}

    def context(local: bool) -> Context:
        form, kernel = chosen[local].form, chosen[local].kernel
        seen = visibility.narrowed(model.window) if local else visibility
        return Context(seen, form, form.tables(batch["positions"], embeddings.position), kernel)

    def layer(context: Context, x: jax.Array, params: dict, key: jax.Array | None, number: jax.Array) -> jax.Array:
        return constrain_batch(bind(Block, model, params)(x, context, key, number == 0))

    normalise = lambda x: bind(FinalNorm, model, params["final_norm"])(x)
    x = constrain_batch(embeddings(batch, embed_key).astype(model.dtype))
    keys = None if layers_key is None else jax.random.split(layers_key, model.layers)
    contexts = {local: context(local) for local in chosen}
    of_kind = {local: remat(functools.partial(layer, contexts[local]), model) for local in contexts}
    steps = [of_kind[local] for local in model.pattern]
    if every_layer:
        states = jnp.zeros((model.layers, *x.shape), x.dtype)
        x, states = run_layers(model, [storing(step) for step in steps], None, (x, states), params["layers"], keys)
        return states.at[-1].set(normalise(x)) if model.norm == "pre" else states
    last = None
    if places is not None:
        local = model.is_local(model.layers - 1)
        fewer = chosen[local].kernel.unsupported(dataclasses.replace(chosen[local].request, elsewhere=True)) is None
        last = functools.partial(layer, contexts[local]._replace(places=places, kernel_takes_places=fewer))
    x = run_layers(model, steps, last, x, params["layers"], keys)
    return normalise(x) if model.norm == "pre" else x


def storing(step: Layer) -> Layer:
    """The function of a layer that also writes its output into [n, B, L, D]."""

    def both(carried: Any, params: dict, key: Any, number: jax.Array) -> Any:
        x = step(carried[0], params, key, number)
        return x, carried[1].at[number].set(x)

    return both


def run_layers(model: Model, steps: Sequence[Layer], last: Layer | None, x: Any, params: dict, keys: Any) -> Any:
    """x [B, L, D], or whatever the steps carry, through all layers.

    Args:
      steps: the function of a layer, for each layer of `model.pattern`.
      last: that of the very last layer; None for the one in `steps`.
      params: of the layers, the tree's "layers".
      keys: one for each layer, or None.
    """
    common = {part: params[part] for part in shared(model)}
    own = ({part: params[part] for part in PARTS if part not in common}, keys, jnp.arange(model.layers))
    own = jax.tree.map(lambda p: p.reshape(model.groups, -1, *p.shape[1:]), own)
    size, length = model.layers // model.groups, len(steps)
    unroll = side_by_side(model, training=keys is not None)

    def through_group(number: int, x: jax.Array, group: Any) -> jax.Array:
        """Runs the layers of a group, given the position of its first layer in the pattern."""
        common, own = group
        step = lambda place, x, own: steps[place % length](x, common | own[0], *own[1:])
        return cycle([functools.partial(step, number * size + i) for i in range(length)], x, own, unroll)

    alike = length // math.gcd(length, size)  # groups until one starts at the same position in the pattern
    x = cycle([functools.partial(through_group, i) for i in range(alike)], x, _at((common, own), slice(-1)))
    common, own = _at((common, own), -1)
    if last is None:
        return through_group(model.groups - 1, x, (common, own))
    x = through_group(model.groups - 1, x, (common, _at(own, slice(-1))))
    layer_params, *rest = _at(own, -1)
    return last(x, common | layer_params, *rest)


def cycle(steps: Sequence[Callable], x: jax.Array, items: Any, unroll: int = 1) -> jax.Array:
    """x ← step(x, item) for each item, the steps taken in turn: one loop over cycles of all steps, then the rest.

    Args:
      items: a tree of arrays, each item at one index of axis 0.
      unroll: steps compiled side by side, as far as they make whole cycles.
    """
    number = len(jax.tree.leaves(items)[0])
    cycles, rest = divmod(number, len(steps))
    alone = len(steps) == 1  # then nothing is reshaped: XLA's CPU compiler copies the weights that a loop has reshaped

    def once(x: jax.Array, items: Any) -> tuple[jax.Array, None]:
        for i, step in enumerate(steps):
            x = step(x, items if alone else _at(items, i))
        return x, None

    if cycles:
        in_cycles = lambda p: p[: number - rest].reshape(cycles, len(steps), *p.shape[1:])
        stacked = items if alone else jax.tree.map(in_cycles, items)
        x, _ = jax.lax.scan(once, x, stacked, unroll=max(1, unroll // len(steps)))
    for i in range(rest):
        x = steps[i](x, _at(items, number - rest + i))
    return x


def _at(tree: Any, index: int | slice) -> Any:
    """Each array of the tree at an index, or at several, of axis 0."""
    return jax.tree.map(lambda p: p[index], tree)


def remat(layer: Any, model: Model) -> Any:
    """The layer, rematerialised as `model.remat` says."""
    if model.remat == "none":
        return layer
    # Inside a loop XLA cannot merge the recomputation with the original; the rest of a pattern is outside.
    outside = len(model.pattern) > 1 or side_by_side(model) >= model.layers
    return jax.checkpoint(layer, policy=REMAT[model.remat], prevent_cse=outside)


def side_by_side(model: Model, training: bool = True) -> int:
    """Number of layers unrolled in a step of the scan over layers.

    By itself all of them on GPUs, where a loop copies weights and activations, and in training on a CPU, where it fills
    its saved arrays with zeros first (in float32 that also takes half as much memory more; in bf16 as much); there not
    those of deep models, which would compile for long, nor those that are to be rematerialised, since XLA's CPU
    compiler merges what is recomputed outside a loop with the original.
    """
    if model.unroll:
        return model.unroll
    on_cpu = training and model.remat == "none" and model.layers <= MOST_ON_CPU
    return model.layers if platform() == "gpu" or (on_cpu and platform() == "cpu") else 1
