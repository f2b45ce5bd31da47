"""Gradual pruning by magnitude (Zhu and Gupta 2017, arXiv 1710.01878, section 3; on BERT: Gordon et al. 2020).

The smallest weights of each matrix are masked, more and more of them by a cubic schedule. A masked
weight gets no gradient of the loss.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from bert_jax.transforms import Transform
from configuration.variants import ConfigError


def build(
    steps: int,
    *,
    sparsity: float = 0.5,
    begin: float = 0.1,
    end: float = 0.6,
    every: int = 100,
    arrays: tuple[str, ...] = ("kernel",),
) -> Transform:
    """Masks of the parameters that are named in `arrays`.

    Args:
      sparsity: share of each matrix that is masked in the end.
      begin, end: when masking starts, and when it has reached `sparsity`, as shares of the run's updates.
      every: updates between two choices of the masks.
      arrays: last names of the parameters to prune; each layer of a stack is a matrix of its own.

    Raises:
      ConfigError: an option is out of range.
    """
    _require(0 < sparsity < 1, "sparsity", sparsity, "between 0 and 1")
    _require(0 <= begin < end <= 1, "begin", begin, f"at least 0 and below end={end}, which is at most 1")
    _require(every >= 1, "every", every, "at least 1 update")
    first, last = round(begin * steps), max(round(end * steps), round(begin * steps) + 1)

    def init(params: Any) -> dict[str, Any]:
        keep_all = lambda path, p: jnp.ones(p.shape, bool) if _name(path[-1]) in arrays else optax.MaskedNode()
        masks = jax.tree_util.tree_map_with_path(keep_all, params)
        return {"masks": masks, "updates": jnp.zeros([], jnp.int32)}

    def update(state: dict[str, Any], params: Any) -> dict[str, Any]:
        updates = state["updates"] + 1
        left = jnp.clip((last - updates) / (last - first), 0.0, 1.0)  # share of the schedule
        share = sparsity * (1 - left**3)
        choose = lambda path, p, mask: _largest(path, p, mask, share)
        chosen = lambda: jax.tree_util.tree_map_with_path(choose, params, state["masks"])
        due = (updates > first) & (updates <= last) & (((updates - first) % every == 0) | (updates == last))
        return {"masks": jax.lax.cond(due, chosen, lambda: state["masks"]), "updates": updates}

    def apply(params: Any, state: dict[str, Any]) -> Any:
        return jax.tree.map(lambda p, mask: p if _left_out(mask) else p * mask, params, state["masks"])

    return Transform(apply, init, update, in_step=True)


def _largest(path: Any, p: jax.Array, mask: Any, share: jax.Array) -> Any:
    """bool, like the parameter: all but the smallest `share` of each matrix."""
    if _left_out(mask):
        return mask
    matrices = jnp.abs(p).reshape(p.shape[0] if any(_name(key) == "layers" for key in path) else 1, -1)
    masked = jnp.floor(share * matrices.shape[1]).astype(jnp.int32)
    threshold = jnp.sort(matrices, axis=1)[:, masked]
    return (matrices >= threshold[:, None]).reshape(p.shape)


def _left_out(mask: Any) -> bool:
    return isinstance(mask, optax.MaskedNode)


def _name(key: Any) -> str:
    return jax.tree_util.keystr((key,), simple=True)


def _require(holds: bool, option: str, value: object, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"config.transforms: prune.{option} is {value!r}; it must be {wanted}")
