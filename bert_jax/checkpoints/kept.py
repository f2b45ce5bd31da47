"""Heads of an imported encoder that are not trained: written once beside the checkpoints, and exported unchanged."""

from typing import Any

import numpy as np
import safetensors.numpy
from etils import epath

from bert_jax.runtime.trees import flatten, unflatten

FILE = "kept.safetensors"


def write(folder: epath.Path, parts: dict[str, Any]) -> None:
    """Writes nested dicts of arrays; nothing where there are none."""
    if not parts:
        return
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{FILE}.new"
    temporary.write_bytes(safetensors.numpy.save({name: np.asarray(x) for name, x in flatten(parts).items()}))
    temporary.replace(folder / FILE)


def read(folder: epath.Path) -> dict[str, Any]:
    """What `write` wrote; {} where it wrote nothing."""
    if not (folder / FILE).exists():
        return {}
    return unflatten(safetensors.numpy.load((folder / FILE).read_bytes()))
