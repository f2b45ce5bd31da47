"""Trees of arrays by name."""

from typing import Any

import jax


def flatten(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their dotted names."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in jax.tree.leaves_with_path(tree)
    }
