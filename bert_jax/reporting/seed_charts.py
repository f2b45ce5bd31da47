"""Charts of a run with several seeds: a line for each seed over the steps, and a dot for each seed's score."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_jax.reporting import charts
from bert_jax.reporting.numbers import short, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = ("line", "mark", "baseline")  # colours of one seed after the other


def lines_chart(name: str, curves: Sequence[charts.Curve], size: charts.Size, points: bool = False) -> str:
    """SVG of one curve for each seed; `points` marks each value."""
    last = max(float(steps[-1]) for steps, _ in curves)
    words = f"{name} over {whole(last)} steps, a line for each of {len(curves)} seeds."

    def draw(figure: "Figure", colours: charts.Colours) -> None:
        axes = figure.add_subplot(facecolor="none")
        for number, (steps, values) in enumerate(curves):
            shape: dict[str, Any] = {"marker": "o", "markersize": 4} if points else {}
            shown = values if points else charts.smoothed(values)
            axes.plot(steps, shown, color=colours[MARKS[number % len(MARKS)]], linewidth=1.4, alpha=0.8, **shape)
        _frame(axes, colours)
        axes.set_xlim(0, last)
        axes.set_xlabel("step", color=colours["ink"])

    return charts.svg(draw, size, words)


def dots_chart(scores: Mapping[str, Sequence[float]], size: charts.Size) -> str:
    """SVG of a dot for each seed in a row for each score, with a bar at the median."""
    words = f"A dot for each seed's score: {', '.join(scores)}."

    def draw(figure: "Figure", colours: charts.Colours) -> None:
        axes = figure.add_subplot(facecolor="none")
        for row, values in enumerate(scores.values()):
            high = -row
            axes.plot([np.median(values)] * 2, [high - 0.3, high + 0.3], color=colours["baseline"], linewidth=2)
            dots: dict[str, Any] = {"marker": "o", "markersize": 8, "linestyle": "none", "alpha": 0.75}
            axes.plot(values, np.full(len(values), high), color=colours["line"], **dots)
        _frame(axes, colours)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color=colours["grid"], linewidth=0.8)
        axes.set_yticks([-row for row in range(len(scores))], list(scores))
        axes.set_ylim(-len(scores) + 0.4, 0.6)
        axes.margins(x=0.1)

    return charts.svg(draw, size, words)


def _frame(axes: "Axes", colours: charts.Colours) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(colours["grid"])
    axes.grid(axis="y", color=colours["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=colours["ink"], pad=5)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(round(value, 6))))
