"""A sweep as one picture: the losses of all trials on their way, and what each varied field does to the result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_jax.reporting.charts import PAPER
from configuration.files import atomic_write


def write(path: Path, figures: Mapping[str, Any]) -> None:
    """Writes the PNG of what sweep.json holds."""
    from matplotlib.figure import Figure

    trials, rungs = figures["trials"], figures["rungs"]
    fields = list(dict.fromkeys(field for trial in trials for field in trial["fields"]))
    figure = Figure(figsize=(4.6 * (1 + len(fields)), 3.8), dpi=150, layout="constrained", facecolor="white")
    axes = figure.subplots(1, 1 + len(fields), squeeze=False)[0]

    best = figures["best"]["trial"] if figures["best"] else None
    for trial in trials:
        shares = [100 * int(rung) / rungs for rung in trial["losses"]]
        colour = PAPER["line"] if trial["trial"] == best else PAPER["faint"]
        dashes = "-" if trial["value"] is not None else ":"
        axes[0].plot(shares, list(trial["losses"].values()), dashes, color=colour, zorder=2 + (trial["trial"] == best))
    axes[0].set_title("Training loss (dotted: ended early; dark: the best)", loc="left", fontsize=9)
    axes[0].set_xlabel("% of the training")

    done = [trial for trial in trials if trial["value"] is not None]
    for field, side in zip(fields, axes[1:], strict=True):
        values = [trial["fields"][field] for trial in done]
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        if numbers and min(values) > 0 and max(values) > 5 * min(values):
            side.set_xscale("log")
        places = values if numbers else [str(value) for value in values]
        colours = [PAPER["mark"] if trial["trial"] == best else PAPER["line"] for trial in done]
        side.scatter(places, [trial["value"] for trial in done], c=colours, s=28)
        side.set_title(figures["measure"], loc="left", fontsize=9)
        side.set_xlabel(field)
    for side in axes:
        side.grid(color=PAPER["grid"], linewidth=0.8)
        side.set_axisbelow(True)
        for edge in ("top", "right"):
            side.spines[edge].set_visible(False)
    with atomic_write(path, durable=False) as file:
        figure.savefig(file, format="png", metadata={"Software": None})
