"""Metrics of fine-tuned models: one kind of task a file.

Each file's `compute` takes NumPy arrays or lists and gives a dict of floats, all of them shares or
correlations: 1 is perfect. They need the extra `finetune`.
"""

import importlib.util

import numpy as np

from configuration.variants import ConfigError
from data_pipeline.errors import DataError

PACKAGES = ("sklearn", "scipy", "seqeval")


def need(*packages: str) -> None:
    """Says how packages that metrics need are installed.

    Raises:
      ConfigError: one is not installed.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"these metrics need {package}: pip install 'bert_jax[finetune]'")


def check_lengths(**columns: object) -> None:
    """Checks that there is something to score, and as many values on each side.

    Raises:
      DataError: no example, or different numbers of them.
    """
    lengths = {name: len(values) for name, values in columns.items()}  # type: ignore[arg-type]
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{length:,} {name}" for name, length in lengths.items())
        raise DataError(f"there are {said}; give as many of one as of the other")
    if not any(lengths.values()):
        raise DataError(f"there is no example to score: {next(iter(lengths))} is empty")


def check_finite(name: str, values: np.ndarray) -> None:
    """Checks that a model's outputs are numbers.

    Raises:
      DataError: one is NaN or infinite.
    """
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise DataError(f"{name}[{', '.join(map(str, bad[0]))}] is {values[tuple(bad[0])]}; the model has diverged")
