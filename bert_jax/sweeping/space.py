"""What a sweep varies: fields of the configuration, each with a range or a few choices.

On the command line, once for each field:

    --vary=phases.0.learning_rate=1e-3..1e-2:log     a range, on a logarithmic scale
    --vary=phases.0.learning_rate=1e-3..1e-2:log:4   its four points, ends among them, for a grid
    --vary=phases.0.batch_size=8|16|32               choices

In a file (--space=FILE), Python that assigns `space`:

    from bert_jax.sweeping.space import Choice, Range

    space = {"phases.0.learning_rate": Range(1e-3, 1e-2, log=True), "optimizer": Choice(("lamb", "adamw"))}
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configuration.flags import run_file, value_of
from configuration.variants import ConfigError

Value = str | int | float | bool


@dataclasses.dataclass(frozen=True)
class Range:
    """All numbers from low to high, integers if both are; for a grid, `points` of them."""

    low: float
    high: float
    log: bool = False
    points: int = 0

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            above = " and above 0 on a logarithmic scale" if self.log else ""
            raise ConfigError(f"a range from {self.low} to {self.high}: low must be below high{above}")
        if self.points == 1 or self.points < 0:
            raise ConfigError(f"a range from {self.low} to {self.high} has {self.points} points; give 2 or more")

    @property
    def whole(self) -> bool:
        """Whether it is of integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def grid(self, field: str) -> tuple[Value, ...]:
        """Its points, evenly spaced on the linear or logarithmic scale.

        Raises:
          ConfigError: it has no number of points.
        """
        if not self.points:
            raise ConfigError(
                f"--vary={field}: a grid needs a number of points, such as {self.low}..{self.high}"
                f"{':log' if self.log else ''}:4, or choices"
            )
        shares = [i / (self.points - 1) for i in range(self.points)]
        if self.log:
            values = [math.exp(math.log(self.low) * (1 - s) + math.log(self.high) * s) for s in shares]
        else:
            values = [self.low * (1 - s) + self.high * s for s in shares]
        values = [float(self.low), *values[1:-1], float(self.high)]
        return tuple(dict.fromkeys(round(v) if self.whole else float(f"{v:.6g}") for v in values))


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ConfigError("a choice among no values; give at least one")

    def grid(self, field: str) -> tuple[Value, ...]:
        """Its values."""
        del field
        return self.values


Space = Mapping[str, Range | Choice]


def parse(texts: Sequence[str]) -> dict[str, Range | Choice]:
    """The space of `FIELD=VALUES` texts.

    Raises:
      ConfigError: a text of another form, or a field twice.
    """
    space: dict[str, Range | Choice] = {}
    for text in texts:
        field, equals, values = text.partition("=")
        if not equals or not field or not values:
            raise ConfigError(f"--vary={text}: give FIELD=LOW..HIGH, FIELD=LOW..HIGH:log or FIELD=A|B|C")
        if field in space:
            raise ConfigError(f"--vary={text}: {field} is varied twice")
        space[field] = _range(text, values) if ".." in values else Choice(tuple(map(value_of, values.split("|"))))
    return space


def _range(text: str, values: str) -> Range:
    ends, *rest = values.split(":")
    numbers = [value_of(end) for end in ends.split("..")]
    log = "log" in rest
    points = [value_of(part) for part in rest if part != "log"]
    good = len(numbers) == 2 and all(type(n) in (int, float) for n in numbers)
    if not good or len(points) > 1 or not all(type(n) is int for n in points):
        raise ConfigError(f"--vary={text}: a range is LOW..HIGH, and may end with :log and with :POINTS")
    return Range(numbers[0], numbers[1], log, points[0] if points else 0)


def read(path: str) -> dict[str, Range | Choice]:
    """The `space` of a Python file.

    Raises:
      ConfigError: no such file, or no space in it.
    """
    if not Path(path).is_file():
        raise ConfigError(f"--space={path}: no such file")
    space: Any = getattr(run_file(path, f"--space={path}"), "space", None)
    if not isinstance(space, Mapping) or not all(isinstance(v, (Range, Choice)) for v in space.values()):
        raise ConfigError(f'--space={path} must assign space = {{"FIELD": Range(…) or Choice(…)}}')
    return dict(space)


def as_text(value: Value) -> str:
    """A value as `--config.field=` takes it."""
    return value if isinstance(value, str) else json.dumps(value)
