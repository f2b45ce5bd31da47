"""Progress of a run while it trains: the configured loggers, and a progress line.

metrics.jsonl in the work folder holds one JSON object a logged step, `step` first, every number in
full precision (a float's shortest text that reads back as the same float; null where it is not
finite). Each step stands there once, however often the run was interrupted.
"""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from bert_jax.reporting.loggers import LOGGERS, Logger, Run
from bert_jax.reporting.numbers import compact, duration, ratio
from configuration.files import write_bytes
from configuration.variants import Variant, load, use
from data_pipeline.errors import DataError

FILE = "metrics.jsonl"
SECONDS_BETWEEN_LINES = 10.0  # of progress, where it is no terminal that reads it
PACE_MEMORY = 0.8  # weight of the past in the moving mean that the time left comes from


class MetricsLog:
    """The log of one run: opened at the step it starts from, called once a logged step, closed.

        with MetricsLog(workdir, start_step, config.steps, enabled=jax.process_index() == 0) as log:
            ...
            log(step, {"loss": 5.25, "learning_rate": 1e-3, "tokens_per_second": 9e3, "step_seconds": 0.4})

    `step` counts the optimizer updates done, so the first is start_step + 1; steps only grow. The
    values are Python numbers: read the device's arrays one logged step late, when the device has
    long computed them and is busy with what follows, so that nothing here makes it wait. A device
    array is refused, since reading it could wait unseen. Known names get into the progress line:
    loss [nat], learning_rate, tokens_per_second (padding not counted), step_seconds.

    Opening at `start_step` makes the loggers drop what an interrupted run logged after it. With
    `enabled=False`, as on every process but the first, nothing is read, written or shown.
    """

    def __init__(
        self,
        workdir: Path,
        start_step: int,
        total_steps: int,
        *,
        loggers: Sequence[Variant] = (use("jsonl"), use("tensorboard")),
        about: Mapping[str, Any] | None = None,
        enabled: bool = True,
    ) -> None:
        """`about`: the run's configuration, for loggers that show it."""
        self._step = start_step
        self._enabled = enabled
        if not enabled:
            return
        workdir.mkdir(parents=True, exist_ok=True)
        run = Run(workdir, start_step, about or {})
        self._loggers: list[Logger] = []
        self._open = contextlib.ExitStack()
        with self._open as opening:
            for variant in loggers:
                self._loggers.append(load(LOGGERS, variant)(run))
                opening.callback(self._loggers[-1].close)
            self._open = opening.pop_all()
        self._progress: _Bar | _Lines = (_Bar if _is_screen() else _Lines)(start_step, total_steps)

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Logs the values of one step.

        Raises:
          ValueError: the step is not after the last one.
          TypeError: a value is not a Python number.
        """
        if step <= self._step:
            raise ValueError(f"step {step} is logged after step {self._step}; steps must grow")
        for name, value in values.items():
            if not isinstance(value, (int, float)):
                raise TypeError(f"metric {name} is a {type(value).__name__}; it must be a Python number")
        self._step = step
        if self._enabled:
            self._progress.show(step, values)  # first: a logger may import for seconds
            for logger in self._loggers:
                logger.write(step, values)

    def say(self, text: str) -> None:
        """Writes a line to stderr, above the progress bar if there is one."""
        if self._enabled:
            self._progress.say(text)

    def close(self) -> None:
        """Closes the files and ends the progress line; a second call does nothing."""
        if self._enabled:
            self._enabled = False
            self._progress.close()
            self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except OSError:
            if error is None:  # do not mask the original exception, often the same full disk
                raise


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The logged steps of a metrics.jsonl, in order; a number that was not finite reads as nan.

    A half-written last line, which a killed process leaves, is skipped.

    Raises:
      DataError: a line before the last is no JSON object with a step.
    """
    records = [json.loads(line) for line in _whole_lines(path)]
    return [{name: math.nan if value is None else value for name, value in record.items()} for record in records]


def drop_after(path: Path, step: int) -> None:
    """Keeps the lines of metrics.jsonl up to and with `step`, byte for byte, or changes nothing at all.

    A half-written last line goes too. A missing file stays missing.
    """
    if not path.exists():
        return
    kept = b"".join(line + b"\n" for line in _whole_lines(path) if json.loads(line)["step"] <= step)
    if kept == path.read_bytes():
        return
    write_bytes(path, kept, durable=True)


def line(step: int, values: Mapping[str, float]) -> str:
    """A line of metrics.jsonl."""
    finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
    return json.dumps({"step": step, **finite}, allow_nan=False) + "\n"


def _whole_lines(path: Path) -> list[bytes]:
    lines = path.read_bytes().split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, start=1):
        if _is_record(line):
            continue
        if number < len(lines):
            raise DataError(f"{path}, line {number} is not a JSON object with a step; delete that line to resume")
        lines.pop()
    return lines


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):  # half a line, or bytes that are no UTF-8
        return False
    return isinstance(record, dict) and isinstance(record.get("step"), int)


class _Pace:
    """Seconds a step takes on the clock, pauses included, as a moving mean over the logged steps."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None
        self._seconds: float | None = None

    def seconds_left(self, step: int, total: int) -> float | None:
        """None before the second call: the first step also compiles, and says nothing of the pace."""
        now = time.monotonic()
        if self._last is not None:
            seconds = (now - self._last[1]) / (step - self._last[0])
            memory = 0.0 if self._seconds is None else PACE_MEMORY
            self._seconds = memory * (self._seconds or 0.0) + (1 - memory) * seconds
        self._last = (step, now)
        return None if self._seconds is None else self._seconds * max(total - step, 0)


def _describe(values: Mapping[str, float], seconds_left: float | None) -> str:
    """The numbers of a step; those that a narrow terminal may cut off come last."""
    parts = [f"{tqdm.format_interval(seconds_left)} left"] if seconds_left else []
    if "loss" in values:
        parts.append(f"loss {values['loss']:.4f}")
    if "learning_rate" in values:
        parts.append(f"lr {ratio(values['learning_rate'])}")
    if "tokens_per_second" in values:
        parts.append(f"{compact(values['tokens_per_second'])} tokens/s")
    if "step_seconds" in values:
        parts.append(f"{duration(values['step_seconds'])}/step")
    return "  ".join(parts)


def _is_screen() -> bool:
    """Whether stderr is a terminal of a known size; tqdm draws nothing on one of no lines."""
    return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).lines > 2


class _Bar:
    """Progress on a terminal."""

    def __init__(self, start_step: int, total: int) -> None:
        form = "{bar} {n_fmt}/{total_fmt}{postfix}"
        self._bar = tqdm(
            initial=start_step, total=total, bar_format=form, miniters=1, dynamic_ncols=True, file=sys.stderr
        )
        self._pace = _Pace()

    def show(self, step: int, values: Mapping[str, float]) -> None:
        left = self._pace.seconds_left(step, self._bar.total)
        self._bar.set_postfix_str(_describe(values, left), refresh=False)
        self._bar.update(step - self._bar.n)

    def say(self, text: str) -> None:
        self._bar.write(text, file=sys.stderr)

    def close(self) -> None:
        self._bar.close()


class _Lines:
    """Progress in a log file: a line now and then, and always the first and the last step's."""

    def __init__(self, start_step: int, total: int) -> None:
        self._total = total
        self._pace = _Pace()
        self._written = -math.inf

    def show(self, step: int, values: Mapping[str, float]) -> None:
        left = self._pace.seconds_left(step, self._total)
        now = time.monotonic()
        if now - self._written >= SECONDS_BETWEEN_LINES or step >= self._total:
            self._written = now
            self.say(f"step {step}/{self._total}  {_describe(values, left)}")

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Every line is written already."""
