"""The report's section on layers: LAMB's trust ratios and norms over the steps, a line for each layer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_jax.reporting import charts
from bert_jax.reporting.numbers import ratio, short, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUANTITIES = {
    "trust_ratio": ("Trust ratio", "norm of the weights over that of the update"),
    "update_norm": ("Update norm", "before trust ratio and learning rate"),
    "parameter_norm": ("Parameter norm", ""),
}
COLUMNS, PANEL = 4, (2.35, 1.75)  # inches
PALEST = 0.25  # opacity of the first layer's line; the last one's is 1
MATRICES = ("kernel", "embedding")  # what is drawn; layers.jsonl has biases and LayerNorm's scales too

Records = Sequence[Mapping[str, Any]]


def layer_charts(records: Records) -> dict[str, str]:
    """SVG of each quantity, by its name; empty without two logged steps."""
    if len(records) < 2:
        return {}
    return {name: _chart(records, name) for name in QUANTITIES if name in records[0]}


def _chart(records: Records, quantity: str) -> str:
    arrays = [name for name in records[0][quantity] if name.rpartition(".")[2] in MATRICES]
    steps = np.array([record["step"] for record in records], float)
    values = {name: np.array([np.ravel(r[quantity][name]) for r in records], float) for name in arrays}  # [t, n]
    rows = -(-len(arrays) // COLUMNS)
    words = f"{QUANTITIES[quantity][0]} of {len(arrays)} arrays over {whole(steps[-1])} steps."

    def draw(figure: "Figure", colours: charts.Colours) -> None:
        panels = figure.subplots(rows, COLUMNS, sharey=quantity == "trust_ratio", squeeze=False).ravel()
        for panel, name in zip(panels, arrays, strict=False):
            lines = values[name].T
            for number, line in enumerate(lines):
                shown = PALEST + (1 - PALEST) * (number + 1) / len(lines)
                panel.plot(steps, line, color=colours["line"], alpha=shown, linewidth=1.3)
            panel.set_yscale("log")
            panel.set_title(_short(name), loc="left", fontsize=10.5, color=colours["ink"])
            _frame(panel, colours, float(steps[-1]))
        for panel in panels[len(arrays) :]:
            panel.set_axis_off()

    return charts.svg(draw, (PANEL[0] * COLUMNS, PANEL[1] * rows), words)


def _frame(panel: "Axes", colours: charts.Colours, last_step: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    panel.set_facecolor("none")
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.spines["bottom"].set_color(colours["grid"])
    panel.grid(axis="y", color=colours["grid"], linewidth=0.8)
    panel.tick_params(length=0, labelcolor=colours["ink"], labelsize=9, pad=3)
    panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=7))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value) if value >= 1 else ratio(value)))
    panel.set_xlim(0, last_step)
    panel.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10], integer=True))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def _short(name: str) -> str:
    """layers.attention.output.kernel → attention output"""
    parts = [part for part in name.split(".")[:-1] if part not in ("layers", "embeddings")]
    return " ".join(parts).replace("_", " ") + (" embedding" if name.startswith("embeddings") else "")
