"""Pretrains: flags → mesh → store → state → resume → loop.

    python -m bert_jax.train --config=configs/demo.py --workdir=runs/demo

Run again, it goes on from the newest checkpoint and ends with the same weights, to the bit, as a run that was
never interrupted: batches, masks and dropout are functions of (seed, step), and nothing else is remembered.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bert_jax.checkpoints.manager import Checkpointer
from bert_jax.config import Config
from bert_jax.runtime import compilation_cache, distributed, sharding
from bert_jax.runtime.signals import Stop
from bert_jax.training import start
from bert_jax.training.progress import Progress
from bert_jax.training.rollback import Watch, go_back, regular_checkpoints, skipped_rows
from bert_jax.training.setup import (
    check,
    check_fields,
    check_processes,
    device_batches,
    kernels,
    make_objective,
    open_examples,
    open_store,
)
from bert_jax.training.start import config_from_flags
from bert_jax.training.state import phase_at
from bert_jax.training.step import jit_train_step
from configuration import cli
from configuration import flags as config_flags
from configuration.locks import alone_in
from configuration.variants import ConfigError


def main() -> dict[str, Any]:
    """The command."""
    config, workdir = config_from_flags(), Path(cli.FLAGS.workdir)
    with distributed.processes():
        return train(config, workdir, cli.FLAGS.accept_changes)


def train(config: Config, workdir: Path, accept_changes: bool = False) -> dict[str, Any]:
    """Trains until the last phase ends, or until Ctrl-C or SIGTERM, which save and raise KeyboardInterrupt.

    Args:
      accept_changes: go on from a checkpoint of another configuration or store.

    Returns:
      steps, train_seconds (interrupted runs counted in), and the last logged metrics.

    Raises:
      ConfigError: the configuration cannot work here, or the folder holds a run of another one.
    """
    # ------------------------------------------------------------ mesh, store, objective: checked before compiling
    mesh = check(config)
    store = open_store(config, workdir)
    check_processes(config, store)
    objective = make_objective(config, store)
    examples = [open_examples(config, store, number, objective.needs) for number in range(len(config.phases))]
    for each in examples:
        check_fields(config, objective, each)
    constants = jax.device_put(objective.constants, sharding.everywhere(mesh))
    # Compiled when they are first called; those that also give the statistics, only if these are wanted.
    updates, updates_with_statistics = (
        [jit_train_step(config, phase, objective, mesh, statistics) for phase in config.phases]
        for statistics in (False, config.statistics_every > 0)
    )

    first = jax.process_index() == 0
    busy = ConfigError(f"another process is training in {workdir}; wait for it, or give another folder")
    with (
        alone_in(workdir, busy) if first else contextlib.nullcontext(),
        Checkpointer(workdir, config.checkpoints, regular_checkpoints(config)) as checkpoints,
        Stop() as stop,
    ):
        # -------------------------------------------------------- state: where training starts, see training/start.py
        state, step, begun = start.init_or_resume(config, store, mesh, checkpoints, accept_changes)
        if first:
            cli.write_json(workdir / "config.json", config_flags.to_dict(config))

        # -------------------------------------------------------- loop
        with Progress(config, workdir, step) as progress:
            for line in (begun, *kernels(config, mesh)):
                progress.log.say(line)
            agreed, stopping, failed = distributed.Agreement(), False, None
            watch = Watch(config.guard)
            losses: list[jax.Array] = []  # since the last checkpoint
            while step < config.steps and not stopping:
                number, phase, done = phase_at(config, step)
                left_out = skipped_rows(state, number)
                for batch in device_batches(examples[number], phase, done, mesh, left_out):
                    step += 1
                    wanted = config.statistics_every and step % config.statistics_every == 0
                    state, metrics = (updates_with_statistics if wanted else updates)[number](state, batch, constants)
                    progress.step(step, metrics)
                    losses.append(metrics["loss"])
                    stopping = agreed(stop.asked)
                    due = step % config.checkpoints.every_steps == 0 or step == config.steps or stopping
                    if failed := watch(step, metrics, now=due):
                        break
                    if due:
                        progress.flush()  # no checkpoint knows of a step that the log lacks, killed or not
                        checkpoints.save(step, state, config, store.fingerprint, loss=mean_of_finite(losses))
                        losses = []
                    if stopping:
                        break
                if failed:
                    begin = lambda: start.init_or_resume(config, store, mesh, checkpoints, accept_changes)
                    state, step = go_back(state, failed, config, checkpoints, begin, progress.log.say)
                    losses, watch = [], Watch(config.guard)
                    progress.go_back(step)
            checkpoints.wait()
    if step < config.steps:
        print(f"stopped at step {step} of {config.steps}; the checkpoint is in {workdir}", file=sys.stderr)
        raise KeyboardInterrupt
    return {"steps": step, **progress.last}


def mean_of_finite(losses: list[jax.Array]) -> float | None:
    """The mean loss of the steps whose loss was finite (the guard skips others), if there were any."""
    values = np.array(jax.device_get(losses))
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else None


if __name__ == "__main__":
    flags_of_run = (config_flags.config_flag, cli.workdir_flag, cli.accept_changes_flag)
    cli.run(compilation_cache.cached(main), *flags_of_run, distributed.distributed_flags)
