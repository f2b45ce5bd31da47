"""Pretrains: flags → mesh → store → state → resume → loop.

    python -m bert_jax.train --config=configs/demo.py --workdir=runs/demo

Run again, it resumes from the newest checkpoint and ends with the same weights, to the bit, as a run that was
never interrupted: batches, masks and dropout are functions of (seed, step), and nothing else is remembered.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any

import jax

from bert_jax import evaluators
from bert_jax.checkpoints.manager import Checkpointer
from bert_jax.config import Config
from bert_jax.runtime import command, distributed, precision, sharding
from bert_jax.runtime.signals import Stop
from bert_jax.training import start
from bert_jax.training.checkpointing import Checkpointing
from bert_jax.training.held_out import HeldOut
from bert_jax.training.hooks import Update, call, own_hooks
from bert_jax.training.progress import Progress
from bert_jax.training.rollback import GoBack, Watch, go_back, regular_checkpoints, skipped_rows
from bert_jax.training.setup import (
    check,
    check_fields,
    check_processes,
    device_batches,
    kernels,
    make_objectives,
    open_data,
    open_examples,
)
from bert_jax.training.start import config_from_flags
from bert_jax.training.state import phase_at
from bert_jax.training.step import Updates
from configuration import cli
from configuration import flags as config_flags
from configuration.locks import alone_in
from configuration.variants import ConfigError


def main() -> dict[str, Any]:
    """The command."""
    config, workdir = config_from_flags(), Path(cli.FLAGS.workdir)
    with distributed.processes():
        return train(config, workdir, cli.FLAGS.accept_changes)


def train(config: Config, workdir: Path, accept_changes: bool = False, data: Any = None) -> dict[str, Any]:
    """Trains until the last phase or `patience` ends; Ctrl-C and SIGTERM make it save and raise KeyboardInterrupt.

    Args:
      accept_changes: resume from a checkpoint of another configuration or store.
      data: what `setup.open_data` gives, where it is open already.

    Returns:
      steps, train_seconds (interrupted runs counted in), and the last logged metrics.

    Raises:
      ConfigError: the configuration cannot work here, or the folder holds a run of another one.
    """
    # ------------------------------------------------------------ mesh, store, objective: checked before compiling
    config = precision.settled(config, workdir)
    mesh = check(config)
    store = data or open_data(config, workdir)
    check_processes(config, store)
    objectives = make_objectives(config, store)
    examples = [open_examples(config, store, number, each.needs) for number, each in enumerate(objectives)]
    for number, objective in enumerate(objectives):
        check_fields(config, objective, examples[number], number)
    placed = {id(each): jax.device_put(each.constants, sharding.everywhere(mesh)) for each in objectives}
    updates, own = Updates(config, objectives, mesh), own_hooks(config, workdir)
    evaluate = evaluators.during_training(config, store, mesh) if config.eval_every else None

    first = jax.process_index() == 0
    busy = ConfigError(f"another process is training in {workdir}; wait for it, or give another folder")
    with (
        alone_in(workdir, busy) if first else contextlib.nullcontext(),
        Checkpointer(workdir, config.checkpoints, regular_checkpoints(config), config.eval_every > 0) as checkpoints,
        Stop() as stop,
    ):
        # -------------------------------------------------------- state: where training starts, see training/start.py
        state, step, begun = start.init_or_resume(config, store, mesh, checkpoints, accept_changes)
        if first:
            cli.write_json(workdir / "config.json", config_flags.to_dict(config))

        # -------------------------------------------------------- loop
        begin = lambda: start.init_or_resume(config, store, mesh, checkpoints, accept_changes)
        with Progress(config, workdir, step) as progress:
            computed = precision.explain(config)
            for line in (begun, computed, *kernels(config, mesh), *(evaluators.listed(config)[1] if evaluate else [])):
                progress.log.say(line)
            watch = Watch(config.guard, at=[config.checkpoints.every_steps, config.eval_every])
            held_out = [HeldOut(config, workdir, mesh, *evaluate, progress.log.say)] if evaluate else []
            saving = Checkpointing(config, store.fingerprint, checkpoints, progress.flush)
            hooks = [progress, watch, *held_out, *own, saving]
            agreed, over = distributed.Agreement(), ended_early(held_out)
            while step < config.steps and not over:
                number, phase, done = phase_at(config, step)
                constants = placed[id(objectives[number])]
                try:
                    for batch in device_batches(examples[number], phase, done, mesh, skipped_rows(state, number)):
                        step += 1
                        state, metrics = updates(step, number, state, batch, constants)
                        update = Update(step, state, metrics, last=agreed(stop.asked) or step == config.steps)
                        call(hooks, update)
                        if over := update.last:
                            break
                except GoBack as back:
                    state, step = go_back(state, back.failed, config, checkpoints, begin, progress.log.say)
                    for hook in hooks:
                        hook.go_back(step)
            checkpoints.wait()
    asked = distributed.any_process(stop.asked)  # during the last step too, so that nothing starts after training
    if asked or (step < config.steps and not ended_early(held_out)):
        print(f"stopped at step {step} of {config.steps}; the checkpoint is in {workdir}", file=sys.stderr)
        raise KeyboardInterrupt
    return {"steps": step, **progress.last}


def ended_early(held_out: list[HeldOut]) -> bool:
    """Whether the run ends early because it no longer improves on held-out rows."""
    return any(hook.over for hook in held_out)


if __name__ == "__main__":
    flags_of_run = (config_flags.config_flag, cli.workdir_flag, cli.accept_changes_flag)
    cli.run(command.computing(main), *flags_of_run, distributed.distributed_flags)
