"""Trainings of equal wall-clock time, of ours and of peers in PyTorch; what time_to_loss.py is made of."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

Rows = Mapping[str, np.ndarray]  # of the held-out documents, with their masks; see held_out.py
FAMILIES = ("modernbert", "bert")  # of transformers
WAYS = ("", " compiled", " float32", " compiled float32")  # of the peers, which are eager and in bf16 by default
SYSTEMS = ("ours", "ours float32", *(family + way for family in FAMILIES for way in WAYS))


@dataclasses.dataclass(frozen=True)
class Asked:
    """One training: all that its result depends on, but for the machine."""

    system: str  # one of SYSTEMS
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


class System(Protocol):
    """What the clock asks of a system."""

    facts: Mapping[str, Any]  # dtype, parameters and versions

    def begin(self, steps: int) -> None:
        """Starts anew from the seed, with a schedule over so many steps; whatever compiles does so here."""

    def step(self) -> None:
        """One update, which need not be waited for."""

    def wait(self) -> None:
        """Returns when all updates are done."""

    def logits(self, rows: Rows) -> np.ndarray:
        """float32 [B, P, V] at the predicted places of held-out rows, computed in float32."""
