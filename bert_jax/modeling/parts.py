"""Parts of the parameters: anything with weights, from a single module to a stack of layers.

A part knows how to initialise its subtree and the logical axes of its arrays; initialisation, sharding, optimizers,
checkpoints and exchange follow from these. Arrays under a key `layers`, wherever it stands in the tree, are stacked:
one layer for each index of axis 0.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from bert_jax.config import Model
from bert_jax.modeling import layers

STACKED = "layers"


class Part(NamedTuple):
    """One subtree of the parameters."""

    init: Callable[[jax.Array], dict]  # key → nested dict of float32 arrays
    axes: Callable[[], dict]  # the same tree with each array's logical axes


Parts = Mapping[str, Part]  # by the name of their subtree


def of_module(module: layers.Make, model: Model) -> Part:
    """The part that a Flax module defines."""
    return Part(lambda key: layers.init(module, model, key), lambda: layers.logical_axes(module, model))


def stack(part: Part, number: int) -> Part:
    """A part's layers, stacked on axis 0 of each array."""
    stacked = lambda leaf: type(leaf)((STACKED, *leaf))
    return Part(
        lambda key: jax.vmap(part.init)(jax.random.split(key, number)),
        lambda: jax.tree.map(stacked, part.axes()),
    )


def together(parts: Parts) -> Part:
    """One part of several. A part's initial weights depend on the key and its name, not on the other parts."""
    key_of = lambda key, name: jax.random.fold_in(key, zlib.crc32(name.encode()))
    return Part(
        lambda key: {name: part.init(key_of(key, name)) for name, part in parts.items()},
        lambda: {name: part.axes() for name, part in parts.items()},
    )


def size(tree: Any) -> int:
    """Numbers in a tree of arrays."""
    return sum(x.size for x in jax.tree.leaves(tree))
