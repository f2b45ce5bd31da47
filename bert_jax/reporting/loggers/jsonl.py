"""metrics.jsonl in the work folder, see reporting/metrics.py."""

from collections.abc import Mapping
from pathlib import Path

from bert_jax.reporting.loggers import Logger, Run
from bert_jax.reporting.metrics import FILE, drop_after, line


def build(run: Run) -> "Lines":
    """The file, without what was logged after the start step."""
    drop_after(run.workdir / FILE, run.start_step)
    return Lines(run.workdir / FILE)


class Lines(Logger):
    """One JSON object a step."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.file.write(line(step, values))
        self.file.flush()  # a killed process loses nothing that was logged

    def close(self) -> None:
        self.file.close()
