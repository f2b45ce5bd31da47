"""Evaluates a checkpoint on held-out documents.

    python -m bert_jax.evaluate --workdir=runs/demo
    python -m bert_jax.evaluate --workdir=runs/demo --step=best --evaluators=held_out_loss

Runs the evaluators that the run's configuration lists (`config.evaluators`, files of bert_jax/evaluators), writes what
they found to evaluation.json in the work folder, and prints it.
"""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from bert_jax import evaluators
from bert_jax.checkpoints.manager import restore_params
from bert_jax.runtime import command
from bert_jax.training.setup import open_data
from configuration import cli
from configuration.variants import use
from data_pipeline import checkpoint_tokenizer


def evaluators_flag() -> None:
    """--evaluators"""
    flags.DEFINE_list("evaluators", [], "Evaluators to run; if not given, those of the run's configuration.")


def main() -> dict[str, Any]:
    """The command."""
    workdir = Path(cli.FLAGS.workdir)
    figures = evaluate(workdir, cli.FLAGS.evaluators, cli.FLAGS.step, cli.FLAGS.store, cli.FLAGS.checkpoints)
    cli.write_json(workdir / "evaluation.json", figures)
    print(describe(figures))
    return figures


def evaluate(
    workdir: Path,
    names: Sequence[str] = (),
    which: str = "",
    store: str | None = None,
    checkpoints: str | None = None,
) -> dict[str, Any]:
    """The figures of a checkpoint, as Python numbers; losses are in nat a predicted token.

    Args:
      names: evaluators to run; by default those of the run's configuration.
      which: the checkpoint's step, or "best"; if not given, the newest.
      store, checkpoints: where they are, as the user names them; empty for within the work folder, which may be
        untrusted; None for wherever its configuration says.

    Raises:
      ConfigError: they are not within the work folder, but should be.
    """
    config, params, step = restore_params(workdir, which, checkpoints)
    if store is not None and not config.labelled:
        place = str(checkpoint_tokenizer.store_of(workdir, config.data.store, store))
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, store=place))
    # The kernel that the run named may not exist on this machine.
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, kernel=use("auto")))
    if names:
        own = {variant.name: variant for variant in config.evaluators}
        config = dataclasses.replace(config, evaluators=tuple(own.get(name, use(name)) for name in names))
    for line in evaluators.listed(config)[1]:
        print(line, file=sys.stderr)
    built = evaluators.build(config, open_data(config, workdir))
    figures = {name: value for each in built.values() for name, value in each.evaluate(params).items()}
    weights = ", ".join(transform.name for transform in config.transforms) or "last"
    return {"step": step, "weights": weights, "evaluators": list(built), **figures}


def describe(figures: Mapping[str, Any]) -> str:
    """The figures as a small table."""
    which = "" if figures["weights"] == "last" else f", {figures['weights']} of the weights"
    tables = [evaluators.describe(name, figures) for name in figures["evaluators"]]
    return "\n".join([f"held-out documents, step {figures['step']:,}{which}", *tables])


if __name__ == "__main__":
    cli.run(command.computing(main), cli.workdir_flag, cli.step_flag, cli.outside_flags, evaluators_flag)
