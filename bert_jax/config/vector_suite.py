"""The configuration of a suite for frozen vectors: labelled sets, and how each evaluates vectors."""

import dataclasses
from typing import Literal

from configuration.variants import Variant, require


@dataclasses.dataclass(frozen=True)
class VectorSet:
    """A labelled set, and the evaluation of vectors on it."""

    name: str  # in tables
    evaluation: Variant  # a file of bert_jax/embedding/evaluations
    source: Variant  # a file of data_pipeline/labelled
    split: Literal["train", "dev", "test"] = "test"


@dataclasses.dataclass(frozen=True)
class VectorSuite:
    """Sets on which vectors are evaluated without training."""

    name: str
    sets: tuple[VectorSet, ...]

    def __post_init__(self) -> None:
        names = [each.name for each in self.sets]
        require(bool(names), "sets", self.sets, "one set or more")
        require(len(set(names)) == len(names), "sets", names, "of different names")
