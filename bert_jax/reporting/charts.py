"""The report's charts, drawn once by matplotlib: as SVG for the page, as one PNG for a README.

A chart of the page takes its colours from the page's style, so that it follows light and dark: each
colour is drawn as a placeholder that stands for a CSS variable.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_jax.reporting.numbers import decimals, percent, ratio, short, whole
from configuration.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[np.ndarray, np.ndarray]  # steps [n] and values [n]
Size = tuple[float, float]  # width and height in inches; an inch is 72 units of an SVG
Number = Callable[[float], str]  # writes the labels of an axis
Colours = Mapping[str, str]  # of ink, grid, line, faint (the single steps), baseline, mark
PAPER = {
    "ink": "#5c5a55",
    "grid": "#e4e1da",
    "line": "#1f5fbf",
    "faint": "#9dbbe6",
    "baseline": "#a85508",
    "mark": "#14735a",
}
PLACEHOLDERS = {name: f"#0000f{i}" for i, name in enumerate(PAPER)}  # placeholder colours that no chart uses

WIDE, SMALL, NARROW = (9.4, 3.6), (4.6, 2.5), (4.6, 3.0)
MOST_POINTS = 1200  # of a curve; longer ones are thinned, as the eye sees no more
SMOOTHED_SHARE = 0.04  # of the logged steps go into the mean of the smoothed curve


def loss_chart(
    loss: Curve, baseline: float | None, held_out: float | None, size: Size, evaluations: Curve | None = None
) -> str:
    """SVG of the loss in nats over the steps; all but `loss` are of held-out documents, `evaluations` of each step."""
    smooth = smoothed(loss[1])
    ends = f"from {decimals(float(smooth[0]), 2)} to {decimals(float(smooth[-1]), 2)} nat"
    words = f"Training loss over {whole(loss[0][-1])} steps, {ends}."
    return _svg(lambda axes, colours: _draw_loss(axes, colours, loss, baseline, held_out, evaluations), size, words)


def curve_chart(name: str, curve: Curve, number: Number, size: Size) -> str:
    """SVG of one curve from zero upwards."""
    steps, values = curve
    ends = f"from {number(values[0])} to {number(values[-1])}, at most {number(_most(values))}"
    words = f"{name} over {whole(steps[-1])} steps, {ends}."
    return _svg(lambda axes, colours: _draw_curve(axes, colours, curve, number), size, words)


def histogram_chart(edges: Sequence[float], counts: Sequence[int], size: Size, what: str = "row") -> str:
    """SVG of rows (or `what`) by their number of tokens: counts[i] of edges[i] up to edges[i + 1] tokens.

    Edges that grow by a factor are drawn on a logarithmic axis.
    """
    fullest = int(np.argmax(counts))
    share = counts[fullest] / max(sum(counts), 1)
    bar = f"{edges[fullest]:g} to {edges[fullest + 1]:g} tokens"
    words = f"Histogram of {what} lengths: {percent(share)} of {whole(sum(counts))} {what}s have {bar}."
    return _svg(lambda axes, colours: _draw_histogram(axes, colours, edges, counts, what), size, words)


def png(
    path: Path,
    loss: Curve,
    learning_rate: Curve | None = None,
    throughput: Curve | None = None,
    baseline: float | None = None,
    held_out: float | None = None,
    evaluations: Curve | None = None,
) -> None:
    """Writes the curves as one picture, 2,000 pixels wide, on white."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    beside = [("Learning rate", learning_rate, ratio), ("Tokens per second", throughput, short)]
    drawn = [(name, found, number) for name, found, number in beside if found is not None]
    with rc_context({"font.family": "DejaVu Sans", "font.size": 9.5}):
        margins = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)  # inches
        figure = Figure(figsize=(10, 4.2), dpi=200, layout=margins, facecolor="white")
        widths = [1.9, 1] if drawn else [1]
        grid = figure.add_gridspec(max(len(drawn), 1), len(widths), width_ratios=widths, wspace=0.06)
        axes = figure.add_subplot(grid[:, 0])
        _draw_loss(axes, PAPER, loss, baseline, held_out, evaluations)
        axes.set_title("Loss (nat per masked token)", loc="left", fontsize=11, fontweight="bold", pad=28)
        above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": 4}
        axes.legend(**above, frameon=False, fontsize=8.5, handlelength=1.8, columnspacing=1.5)
        for row, (name, found, number) in enumerate(drawn):
            side = figure.add_subplot(grid[row, 1])
            _draw_curve(side, PAPER, found, number)
            side.set_title(name, loc="left", fontsize=9.5, fontweight="bold")
        with atomic_write(path, durable=False) as file:
            figure.savefig(file, format="png", metadata={"Software": None})


def smoothed(values: np.ndarray) -> np.ndarray:
    """The centred mean of each value and its neighbours, [n] -> [n]; values that are not finite do not count.

    The window shrinks towards both ends, so that the curve starts and ends where the values do.
    """
    n = len(values)
    at = np.arange(n)
    half = np.minimum(np.minimum(at, n - 1 - at), round(n * SMOOTHED_SHARE / 2))
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    weight = counts[at + half + 1] - counts[at - half]
    return np.where(weight > 0, (sums[at + half + 1] - sums[at - half]) / np.maximum(weight, 1), np.nan)


def _draw_loss(
    axes: "Axes",
    colours: Colours,
    curve: Curve,
    baseline: float | None,
    held_out: float | None,
    evaluations: Curve | None,
) -> None:
    steps, loss = curve
    thin = _thinned(len(steps))
    axes.plot(steps[thin], loss[thin], color=colours["faint"], linewidth=0.9, label="single steps")
    axes.plot(steps[thin], smoothed(loss)[thin], color=colours["line"], linewidth=2.0, label="smoothed")
    if baseline is not None:
        dashed: dict[str, Any] = {"linewidth": 1.5, "linestyle": (0, (5, 3))}
        axes.axhline(baseline, **dashed, color=colours["baseline"], label=f"unigram baseline {decimals(baseline, 2)}")
    if evaluations is not None:
        axes.plot(*evaluations, color=colours["mark"], linewidth=1.5, label="held-out rows")
    if held_out is not None:
        dot: dict[str, Any] = {"marker": "o", "markersize": 7, "linestyle": "none", "clip_on": False, "zorder": 5}
        axes.plot(steps[-1:], [held_out], **dot, color=colours["mark"], label=f"held-out {decimals(held_out, 2)}")
    _frame(axes, colours, steps, lambda value: f"{value:g}")


def _draw_curve(axes: "Axes", colours: Colours, curve: Curve, number: Number) -> None:
    steps, values = curve
    thin = _thinned(len(steps))
    axes.plot(steps[thin], values[thin], color=colours["line"], linewidth=1.6)
    axes.set_ylim(0, 1.12 * _most(values) or 1.0)
    _frame(axes, colours, steps, number)


def _draw_histogram(axes: "Axes", colours: Colours, edges: Sequence[float], counts: Sequence[int], what: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    left, widths = np.asarray(edges[:-1], float), np.diff(np.asarray(edges, float))
    axes.bar(left, counts, widths * 0.9, align="edge", color=colours["line"])
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1.08 * max(counts) or 1.0)
    _frame(axes, colours, None, short)
    axes.set_xlabel(f"tokens in a {what}", color=colours["ink"])
    if len(edges) > 4 and edges[-1] - edges[-2] > 2 * (edges[-1] - edges[0]) / len(counts):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(base=4, numticks=8))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: whole(value)))


def _frame(axes: "Axes", colours: Colours, steps: np.ndarray | None, number: Number) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(colours["grid"])
    axes.grid(axis="y", color=colours["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=colours["ink"], pad=5)
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10], integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value == 0 else number(value)))
    if steps is not None:
        axes.set_xlim(0, max(float(steps[-1]), 1.0))
        label = whole if steps[-1] < 10_000 else short
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))
        axes.set_xlabel("step", color=colours["ink"])


def _svg(draw: Callable[["Axes", Colours], None], size: Size, words: str) -> str:
    return svg(lambda figure, colours: draw(figure.add_subplot(facecolor="none"), colours), size, words)


def svg(draw: Callable[["Figure", Colours], None], size: Size, words: str) -> str:
    """What `draw` puts into an empty figure, as an <svg> element of the page; `words` name it for a screen reader."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    salt = f"{words}{size}"  # ids differ between the charts of a page, and are the same in the next report
    as_text: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "font.family": "DejaVu Sans",
        "font.size": 11.5,
    }
    with rc_context(as_text):
        figure = Figure(figsize=size, layout="constrained", facecolor="none")
        draw(figure, PLACEHOLDERS)
        return _inline(figure, words)


def _inline(figure: "Figure", words: str) -> str:
    """The figure as an <svg> element: scalable, named for a screen reader, in the page's colours and font."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    box = _first(r'viewBox="([^"]*)"', text)
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)  # it would reach the whole page
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # the same in every figure; what is referred to is in <defs>
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    for name, placeholder in PLACEHOLDERS.items():
        body = body.replace(placeholder, f"var(--chart-{name})")
    body = re.sub(r"\n\s*\n", "\n", body)
    return f'<svg class="chart" viewBox="{box}" role="img" aria-label="{words}">{body}'


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None
    return found.group(1)


def _thinned(n: int) -> np.ndarray:
    """Indices of at most MOST_POINTS + 1 of n points, evenly spread, the last among them."""
    stride: Any = -(-n // MOST_POINTS)
    return np.unique(np.append(np.arange(0, n, stride), n - 1))


def _most(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else 0.0
