"""Trees of arrays by name."""

from collections.abc import Callable, Mapping
from typing import Any

import jax


def flatten(tree: Any, separator: str = ".", is_leaf: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    """The leaves of a tree by their names, in the order of the keys: `layers.mlp.up.kernel`.

    Args:
      is_leaf: what is not looked into.
    """
    return {
        jax.tree_util.keystr(path, simple=True, separator=separator): leaf
        for path, leaf in jax.tree.leaves_with_path(tree, is_leaf)
    }


def unflatten(leaves: Mapping[str, Any], separator: str = ".") -> dict[str, Any]:
    """The nested dict of what `flatten` gives."""
    tree: dict[str, Any] = {}
    for name, value in leaves.items():
        *parents, last = name.split(separator)
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree
