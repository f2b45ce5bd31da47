"""Name-and-transpose tables: one list of rules read in both directions.

A rule says which array of the parameter tree is which array of a foreign checkpoint, and how the
two are laid out. Both directions only reshape, transpose and pad, so a round trip is bit-exact.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bert_jax import config
from bert_jax.modeling.parts import STACKED
from bert_jax.runtime import trees
from configuration.foreign import FormatError

Params = dict[str, Any]  # a nested dict of arrays, as bert_jax.modeling.bert.init makes it


@dataclasses.dataclass(frozen=True)
class Rule:
    """One array of ours and its counterpart.

    Ours may have many axes ([D, N, H]); theirs is a vector (`inputs` 0), or a matrix whose rows are
    the first `inputs` axes of ours and whose columns are the rest, `transposed` where the foreign
    format keeps [out, in]. Under `layers`, ours has a leading axis and theirs one array for each
    layer (or group of layers that share it), with its number in place of `{layer}`.
    """

    ours: str  # path in the tree, joined by "/"
    theirs: str  # name in the checkpoint
    inputs: int = 0
    transposed: bool = False
    vocabulary: bool = False  # axis 0 of ours is padded from V to a multiple of 128; theirs is not
    unused_rows: int = 0  # rows at the start of theirs that nothing reads
    first: str = ""  # theirs of layer 0, where it has a name of its own
    part: tuple[int, int] = (
        0,
        1,
    )  # theirs concatenates so many of equal size along axis 0; this is the number of this one
    halves: bool = False  # of the last axis: where ours has pairs of neighbours, theirs has one half and the other

    @property
    def stacked(self) -> bool:
        return STACKED in self.ours.split("/")

    def names(self, shape: Sequence[int]) -> list[str]:
        """Theirs, one for each index of axis 0 of ours where layers are stacked, or the one name."""
        if not self.stacked:
            return [self.theirs]
        return [self.first if self.first and i == 0 else self.theirs.format(layer=i) for i in range(shape[0])]

    def their_shape(self, model: config.Model, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of one of theirs, of all its parts, given the whole shape of ours."""
        rows, *columns = self._part_shape(model, shape)
        return (self.part[1] * rows, *columns)

    def _part_shape(self, model: config.Model, shape: Sequence[int]) -> tuple[int, ...]:
        shape = list(shape[1:] if self.stacked else shape)
        if self.vocabulary:
            shape[0] = model.vocab_size
        if self.inputs == 0:
            return (math.prod(shape),)
        rows, columns = math.prod(shape[: self.inputs]) + self.unused_rows, math.prod(shape[self.inputs :])
        return (columns, rows) if self.transposed else (rows, columns)

    def export(self, model: config.Model, array: np.ndarray) -> np.ndarray:
        """One of ours (without the axis of layers) as its part of theirs, contiguous float32."""
        if self.vocabulary:
            array = array[: model.vocab_size]
        if self.halves:
            array = np.concatenate([array[..., ::2], array[..., 1::2]], -1)
        if self.inputs == 0:
            return np.array(array, np.float32).reshape(-1)
        array = array.reshape(math.prod(array.shape[: self.inputs]), -1)
        array = np.pad(array, ((self.unused_rows, 0), (0, 0)))
        return np.array(array.T if self.transposed else array, np.float32, order="C")

    def restore(self, model: config.Model, array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """One of theirs as ours, of `shape` (without the axis of layers); padding is zeros."""
        number, parts = self.part
        array = np.split(array, parts)[number] if parts > 1 else array
        array = array.T if self.transposed else array
        array = array[self.unused_rows :]
        if self.vocabulary:
            missing = shape[0] - model.vocab_size
            array = np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
        array = np.array(array, np.float32, order="C").reshape(shape)
        if self.halves:
            array = np.stack(np.split(array, 2, -1), -1).reshape(shape)
        return array


def flatten(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(path joined by "/", array) of each leaf of a nested dict."""
    yield from trees.flatten(tree, "/").items()


def unflatten(leaves: Mapping[str, Any]) -> Params:
    """The nested dict of `flatten`'s pairs."""
    return trees.unflatten(leaves, "/")


def export(rules: Sequence[Rule], model: config.Model, params: Params) -> dict[str, np.ndarray]:
    """The parameters under the names and in the layout of `rules`.

    Raises:
      FormatError: parameters that no rule covers: the foreign format would compute something else.
    """
    check_covered(rules, params)
    ours, leaves = {rule.ours: rule for rule in rules}, dict(flatten(params))
    found: dict[str, dict[int, np.ndarray]] = {}
    for path, leaf in leaves.items():
        rule, array = ours[path], np.asarray(leaf)
        for name, one in zip(rule.names(array.shape), array if rule.stacked else [array], strict=True):
            found.setdefault(name, {})[rule.part[0]] = rule.export(model, one)
    return {name: joined(parts) for name, parts in found.items()}


def check_covered(rules: Sequence[Rule], params: Params) -> None:
    """Raises FormatError for parameters that no rule covers."""
    uncovered = sorted(dict(flatten(params)).keys() - {rule.ours for rule in rules})
    if uncovered:
        raise FormatError(f"this format has no place for the parameters {', '.join(uncovered)}")


def joined(parts: Mapping[int, np.ndarray]) -> np.ndarray:
    """The parts of an array, by their number, one below the other."""
    return parts[0] if len(parts) == 1 else np.concatenate([parts[number] for number in sorted(parts)])


def restore(
    rules: Sequence[Rule], model: config.Model, shapes: Params, tensors: Mapping[str, np.ndarray], source: str
) -> Params:
    """The parameters from arrays under foreign names; `shapes` has the tree's abstract arrays.

    Raises:
      FormatError: lists every missing, unknown and misshapen array at once.
    """
    abstract = dict(flatten(shapes))
    rules = [rule for rule in rules if rule.ours in abstract]
    wanted = {
        name: rule.their_shape(model, abstract[rule.ours].shape)
        for rule in rules
        for name in rule.names(abstract[rule.ours].shape)
    }
    check(wanted, tensors, source)
    leaves = {}
    for rule in rules:
        shape = abstract[rule.ours].shape
        each = shape[1:] if rule.stacked else shape
        arrays = [rule.restore(model, tensors[name], each) for name in rule.names(shape)]
        leaves[rule.ours] = np.stack(arrays) if rule.stacked else arrays[0]
    return unflatten(leaves)


def check(wanted: Mapping[str, Sequence[int]], tensors: Mapping[str, np.ndarray], source: str) -> None:
    """Raises FormatError, listing all that is wrong, unless `tensors` has exactly the wanted names and shapes."""
    problems = {
        "no floats": [
            f"{name} {tensors[name].dtype}" for name in wanted if name in tensors and tensors[name].dtype.kind in "iub"
        ],
        "missing": [name for name in wanted if name not in tensors],
        "unknown": [name for name in tensors if name not in wanted],
        "misshapen": [
            f"{name} {list(tensors[name].shape)} instead of {list(shape)}"
            for name, shape in wanted.items()
            if name in tensors and tensors[name].shape != tuple(shape)
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names)
        raise FormatError(f"the weights of {source} do not fit its configuration; {listed}")


def parts_in(rules: Sequence[Rule], tensors: Mapping[str, np.ndarray]) -> set[str]:
    """The parts of the tree, other than layers, that are present at least in part."""
    return {part(rule.ours) for rule in rules if rule.theirs in tensors}


def part(path: str) -> str:
    """The part of the tree that a path leads to, such as "pooler"."""
    return path.split("/")[0]
