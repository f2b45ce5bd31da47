"""Trainings of equal wall-clock time, of ours and of peers in PyTorch; what time_to_loss.py is made of."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from data_pipeline.errors import DataError

Rows = Mapping[str, np.ndarray]  # of the held-out documents, with their masks; see held_out.py
# Each system, and the ways that its name may add, as in "modernbert compiled": bf16 and eager are the default.
WAYS = {
    "ours": ("float32",),
    "modernbert": ("float32", "compiled", "global"),  # without local layers
    "bert": ("float32", "compiled"),
}


@dataclasses.dataclass(frozen=True)
class Asked:
    """One training: all that its result depends on, but for the machine."""

    system: str  # of WAYS, and its ways
    store: str  # its fingerprint
    seconds: float  # of training; the learning rate ends with them
    learning_rate: float  # the peak
    seed: int
    layers: int
    width: int  # D
    batch_size: int  # B, rows
    length: int  # L, tokens in a row
    mask_rate: float  # of a peer; ours has that of its recipe
    points: int  # of the curve, the last one at the end
    eval_rows: int  # held-out rows at most
    changes: Mapping[str, str] = dataclasses.field(default_factory=dict)  # fields of our recipe

    @property
    def family(self) -> str:
        return self.system.split()[0]

    @property
    def ways(self) -> list[str]:
        return self.system.split()[1:]

    @property
    def heads(self) -> int:
        return self.width // 64

    @property
    def gated_width(self) -> int:
        """Units of a gated feed-forward with as many weights as a plain one of four times the width."""
        return -(-8 * self.width // 3 // 16) * 16


def is_system(name: str) -> bool:
    """Whether a name is of a system and of ways that it has."""
    family, *ways = name.split() or [""]
    return family in WAYS and set(ways) <= set(WAYS[family])


def check_rows(asked: Asked, store: str, rows: int) -> None:
    """Raises DataError if the training text has fewer rows than a batch."""
    if rows < asked.batch_size:
        raise DataError(
            f"{store} has {rows} rows of {asked.length} tokens to train on, fewer than a batch of {asked.batch_size}: "
            "give a smaller --batch_size, a smaller --length or more text"
        )


class System(Protocol):
    """What the clock asks of a system."""

    facts: Mapping[str, Any]  # dtype, parameters and versions
    head_start: float  # seconds in which it learns from the text before the first step; they count as training

    def begin(self, steps: int) -> None:
        """Starts anew from the seed, with a schedule over so many steps; whatever compiles does so here."""

    def step(self) -> None:
        """One update, which need not be waited for."""

    def wait(self) -> None:
        """Returns when all updates are done."""

    def logits(self, rows: Rows) -> np.ndarray:
        """float32 [B, P, V] at the predicted places of held-out rows, computed in float32."""
