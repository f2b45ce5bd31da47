"""The configurations that the project ships: a user's own files in configs/ are not tested."""

import dataclasses
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from bert_jax.config import Config
from bert_jax.runtime import precision
from configuration import flags as config_flags
from configuration.variants import Variant

ROOT = Path(__file__).parents[1]
SIMILAR = Path(tempfile.gettempdir()) / "bert_jax tests" / "similar.npz"


def recipes() -> list[Path]:
    """Of pretraining."""
    return files("configs")


def tasks() -> list[Path]:
    """Of fine-tuning."""
    return files("configs/tasks")


def suites() -> list[Path]:
    """Of several tasks."""
    return files("configs/suites")


def files(folder: str) -> list[Path]:
    """Files of a folder under version control; all of them where this is no checkout."""
    pattern = f":(glob){folder}/*.py"
    listed = subprocess.run(["git", "ls-files", pattern], cwd=ROOT, capture_output=True, text=True, check=False)
    return sorted(ROOT / name for name in listed.stdout.split()) or sorted((ROOT / folder).glob("*.py"))


def read(path: Path) -> Config:
    """A recipe as this machine computes it, with a small table for the similar words that its text would give."""
    config = precision.settled(config_flags.read(str(path)))
    replacement = config.objective.options.get("replacement")
    if not isinstance(replacement, Variant) or replacement.name != "similar":
        return config
    objective = Variant(config.objective.name, config.objective.options | {"replacement": similar()})
    return dataclasses.replace(config, objective=objective)


def similar() -> Variant:
    """The replacement by similar words, of a few."""
    words = np.array([[5, 0], [6, 0], [7, 8], [9, 10]], np.int32)
    sizes, neighbours = np.array([1, 1, 2, 2], np.int32), np.array([[1], [0], [3], [2]], np.int32)
    SIMILAR.parent.mkdir(exist_ok=True)
    np.savez(SIMILAR, words=words, sizes=sizes, neighbours=neighbours, plain=np.ones(101, bool))
    return Variant("similar", {"file": str(SIMILAR)})
