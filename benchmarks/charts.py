"""How the scripts here draw their figures; not a command."""

import os
from collections.abc import Mapping
from typing import Any

from absl import flags

FLAGS = flags.FLAGS


def define() -> None:
    flags.DEFINE_string("png", "", "Also draw the figures into this file.")


def bars(groups: Mapping[str, Mapping[str, float]], label: str) -> None:
    """Draws a group of bars for each name, a colour for each of its parts, into the file that --png names, if any.

    Args:
      groups: the heights by group and part; a part that a group lacks is left out there.
      label: of the heights, with their unit.
    """
    if not FLAGS.png:
        return
    parts = list(dict.fromkeys(part for group in groups.values() for part in group))
    width = 0.8 / max(1, len(parts))
    figure, (axes,) = picture(1.5 + max(4.0, 1.5 * len(groups)))
    for i, part in enumerate(parts):
        found = [(place + (i - (len(parts) - 1) / 2) * width, group) for place, group in enumerate(groups.values())]
        found = [(place, group[part]) for place, group in found if part in group]
        axes.bar(*zip(*found, strict=True), width=width, label=part)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_ylabel(label)
    axes.legend(fontsize="small")
    save(figure, FLAGS.png)


def picture(width: float = 7.0, panels: int = 1) -> tuple[Any, Any]:
    """A matplotlib figure on white and its axes, with a quiet grid."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 3.6), dpi=150, layout="constrained", facecolor="white")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for side in axes:
        side.grid(color="#e4e1da", linewidth=0.8)
        side.set_axisbelow(True)
        for edge in ("top", "right"):
            side.spines[edge].set_visible(False)
    return figure, axes


def save(figure: Any, path: str) -> None:
    """Writes the picture whole."""
    temporary = f"{path}.tmp"
    figure.savefig(temporary, format="png", metadata={"Software": None})
    os.replace(temporary, path)
