"""Weights & Biases; needs the package wandb and, unless offline, an account (`wandb login`).

A resumed run keeps its id. The repeated steps are there already, and wandb keeps the first numbers.
"""

import uuid
from collections.abc import Mapping
from typing import Any, Literal

from bert_jax.reporting.loggers import Logger, Run, require_package, run_id


def check() -> None:
    """Raises ConfigError if the package is missing."""
    require_package("wandb")


def build(
    run: Run, *, project: str = "bert_jax", entity: str = "", mode: Literal["online", "offline"] = "online"
) -> "Wandb":
    """The run at wandb.

    Args:
      project, entity: where it is shown; without an entity, the account's own.
      mode: offline writes into the work folder, for `wandb sync`.
    """
    import wandb

    return Wandb(
        wandb.init(
            project=project,
            entity=entity or None,
            name=run.config.get("name"),
            config=dict(run.config),
            dir=str(run.workdir),
            id=run_id(run, "wandb", lambda: uuid.uuid4().hex[:12]),
            resume="allow",
            mode=mode,
            settings=wandb.Settings(silent=True),
        )
    )


class Wandb(Logger):
    """A run of wandb, which sends in the background."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()
