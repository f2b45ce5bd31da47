"""layers.jsonl in the work folder: what the optimizer did to each layer, every `config.statistics_every` steps.

One JSON object a line: step; trust_ratio, update_norm and parameter_norm, each {name of an array: a number, or a list
with one for each layer}. Each step has one line, however often the run was interrupted.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.reporting.metrics import drop_after

FILE = "layers.jsonl"
DIGITS = 6


class LayersLog:
    """Writes one call late, so that reading never makes the devices wait."""

    def __init__(self, workdir: Path, start_step: int, *, enabled: bool = True):
        self._path, self._enabled = workdir / FILE, enabled
        self._waiting: tuple[int, dict[str, Any]] | None = None
        if enabled:
            drop_after(self._path, start_step)

    def __call__(self, step: int, statistics: dict[str, Any]) -> None:
        """Notes the statistics of a step: of each quantity a tree of arrays [n] or [], still on the device."""
        self.write()
        if self._enabled:
            self._waiting = step, statistics

    def write(self) -> None:
        """Writes what was noted last."""
        if self._waiting is None:
            return
        (step, statistics), self._waiting = self._waiting, None
        import jax  # reading a log takes neither

        from bert_jax.runtime.trees import flatten

        by_name = {quantity: flatten(tree) for quantity, tree in jax.device_get(statistics).items()}
        rounded = {q: {name: _rounded(x) for name, x in arrays.items()} for q, arrays in by_name.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **rounded}, allow_nan=False) + "\n")


def _rounded(x: np.ndarray) -> Any:
    """A number or a list of numbers; None where one is not finite."""
    if x.ndim:
        return [_rounded(value) for value in x]
    return float(f"{float(x):.{DIGITS}g}") if math.isfinite(x) else None
