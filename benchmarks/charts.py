"""Bars beside each other for the scripts here; not a command."""

from collections.abc import Mapping

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
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    parts = list(dict.fromkeys(part for group in groups.values() for part in group))
    width = 0.8 / max(1, len(parts))
    figure, axes = plt.subplots(figsize=(1.5 + max(4.0, 1.5 * len(groups)), 3.5), layout="constrained")
    for i, part in enumerate(parts):
        found = [(place + (i - (len(parts) - 1) / 2) * width, group) for place, group in enumerate(groups.values())]
        found = [(place, group[part]) for place, group in found if part in group]
        axes.bar(*zip(*found, strict=True), width=width, label=part)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_ylabel(label)
    axes.legend(fontsize="small")
    figure.savefig(FLAGS.png, dpi=150)
