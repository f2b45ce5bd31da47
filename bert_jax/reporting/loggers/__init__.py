"""Log targets, one a file: where the numbers of a run go.

`build(run, *, options) -> Logger`, on the first process only. A file whose package may be missing has `check()`, which
says so before anything compiles. `config.loggers` lists them.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from configuration.variants import ConfigError, Variant, load, module

LOGGERS = "bert_jax.reporting.loggers"


class Run(NamedTuple):
    """What a logger knows of the run."""

    workdir: Path
    start_step: int  # what an interrupted run logged after it is void
    config: Mapping[str, Any]  # as plain dicts


class Logger:
    """Gets the numbers of each logged step, in order."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs Python numbers by name; one that is not finite among them, perhaps."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends the log."""


def check(loggers: Sequence[Variant]) -> None:
    """Raises ConfigError for a logger that cannot work here, or if metrics.jsonl would not be written."""
    for variant in loggers:
        load(LOGGERS, variant)
        file = module(LOGGERS, variant.name)
        if hasattr(file, "check"):
            file.check()
    if "jsonl" not in [variant.name for variant in loggers]:
        names = ", ".join(variant.name for variant in loggers) or "empty"
        raise ConfigError(f"config.loggers is {names}: add jsonl, which the report and a resumed run read")


def require_package(name: str) -> None:
    """Raises ConfigError if a package is not installed."""
    if importlib.util.find_spec(name) is None:
        raise ConfigError(f"config.loggers has {name}, but its package is not installed: pip install {name}")


def run_id(run: Run, service: str, make: Callable[[], str]) -> str:
    """The service's id of this run, kept in a file of the work folder so that a resumed run continues it."""
    file = run.workdir / f"{service}.id"
    if not run.start_step or not file.exists():
        file.write_text(make() + "\n", encoding="utf-8")
    return file.read_text(encoding="utf-8").strip()
