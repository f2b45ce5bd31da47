"""What the benchmarks of recipes share: small trainings on the demo corpus, each done once, and what they gave.

Run again, a benchmark reads the trainings that are done and goes on with the others.
"""

import dataclasses
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts
from benchmarks.kept import measured
from bert_jax.config import Checkpoints, Config, Data, Evaluation, Model, Phase
from configuration import cli
from configuration import flags as config_flags
from configuration.variants import ConfigError, use
from data_pipeline.store import Store

FLAGS = flags.FLAGS
MASK_RATE = 0.3  # of the training; of the evaluation 0.15
ROWS = use("full_sentences")  # of the evaluation, whatever rows the training had


def define() -> None:
    flags.DEFINE_string("store", "runs/demo/store", "A prepared store, such as make pretrain leaves.")
    flags.DEFINE_string("folder", None, "Where the trainings are, and stay.", required=True)
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Each training is done with each.")
    charts.define()


def main(benchmark: Callable[[], Mapping[str, Any]]) -> None:
    """Runs a benchmark as a command."""
    for flag in (define, cli.json_flag):
        flag()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.set_verbosity(logging.ERROR)
    app.run(lambda argv: sys.exit(cli.guarded(benchmark, argv)))


def small(store: Store, phase: Phase, **changes: Any) -> Config:
    """An encoder of 2 layers and width 64, started and masked as the demo's, so that it learns in half a minute."""
    model = Model(
        vocab_size=store.vocab_size,
        layers=2,
        width=64,
        heads=4,
        mlp_width=256,
        max_length=phase.length,
        dropout=0.0,
        attention_dropout=0.0,
        init=use("neighbours", columns=16),
    )
    config = Config(
        name="small",
        phases=(phase,),
        data=Data(store=str(store.path)),
        model=model,
        unigram_bias=True,
        objective=use("mlm", mask_rate=MASK_RATE),
        optimizer=use("adamw"),
        checkpoints=Checkpoints(every_steps=10**9, keep=1),
        evaluation=Evaluation(length=phase.length, batch_size=256, max_rows=1024, single_mask_rows=1),
        log_every=max(1, phase.steps // 20),
    )
    return dataclasses.replace(config, **changes)


def trained(name: str, config: Config) -> dict[str, Any]:
    """Held-out figures of a training, on full sentences; a run that diverged has eval_loss None, and says why."""
    folder = Path(FLAGS.folder)
    asked = {"config": config_flags.to_dict(config)}
    return measured(folder / f"{name}.json", asked, evaluated, name, config, folder / name)


def evaluated(name: str, config: Config, workdir: Path) -> dict[str, Any]:
    """Trains, and evaluates the last weights."""
    from bert_jax.checkpoints.manager import restore_params
    from bert_jax.evaluators.masked_language import at_masks
    from bert_jax.objectives import mlm
    from bert_jax.train import train
    from bert_jax.training.rollback import TrainingError
    from bert_jax.training.setup import vocabulary_of

    store = Store.open(config.data.store)
    started = time.process_time()
    try:
        last = train(config, workdir)
    except TrainingError as error:
        figures: dict[str, Any] = {"name": name, "eval_loss": None, "note": str(error)}
    else:
        model = dataclasses.replace(config.model, dtype="float32")  # whatever the training computed in
        objective = mlm.build(model, vocabulary_of(store), mask_rate=0.15)
        on_rows = dataclasses.replace(config, model=model, data=dataclasses.replace(config.data, rows=ROWS))
        evaluation = at_masks(on_rows, store, objective)(restore_params(workdir)[1])
        figures = {"name": name, **evaluation, "train_loss": last["loss"], "train_seconds": last["train_seconds"]}
    return figures | {"cpu_seconds": time.process_time() - started}


def over_seeds(name: str, config: Config) -> dict[str, Any]:
    """Mean and spread (highest − lowest) of the held-out loss over the seeds; None if one of them diverged."""
    runs = [trained(f"{name}-seed{s}", dataclasses.replace(config, seed=int(s))) for s in FLAGS.seeds]
    losses = [run["eval_loss"] for run in runs]
    if None in losses:
        return {"name": name, "losses": losses, "mean": None, "spread": None, "runs": runs}
    mean, spread = statistics.mean(losses), max(losses) - min(losses)
    return {"name": name, "losses": losses, "mean": mean, "spread": spread, "runs": runs}


def tuned(name: str, rates: Sequence[float], config_of: Callable[[float], Config]) -> tuple[float, dict[float, Any]]:
    """The learning rate of the lowest held-out loss at seed 0, and the loss of each."""
    losses = {rate: trained(f"{name}-{rate:g}", config_of(rate))["eval_loss"] for rate in rates}
    whole = {rate: loss for rate, loss in losses.items() if loss is not None}
    if not whole:
        raise ConfigError(f"{name}: no learning rate of {list(rates)} gave a training")
    return min(whole, key=lambda rate: whole[rate]), losses


def step_seconds(name: str, config: Config) -> float:
    """CPU seconds of an update of a training."""
    asked = {"config": config_flags.to_dict(config)}
    return measured(Path(FLAGS.folder) / f"pace-{name}.json", asked, pace, config)["step_seconds"]


def pace(config: Config, times: int = 6, steps: int = 10) -> dict[str, float]:
    """CPU seconds of an update of the first phase, all threads together: the least of several times some."""
    import jax

    from bert_jax.runtime import precision, sharding
    from bert_jax.training import setup
    from bert_jax.training.state import init_state
    from bert_jax.training.step import jit_train_step

    config, store = precision.settled(config), Store.open(config.data.store)
    mesh = sharding.make_mesh(config.mesh)
    objective = setup.make_objective(config, store)
    update = jit_train_step(config, config.phases[0], objective, mesh)
    batch = setup.open_examples(config, store, 0, objective.needs).batch(0, config.phases[0].batch_size)
    state = init_state(config, mesh, store.token_counts)
    took = []
    for _ in range(1 + times):  # the first compiles
        began = time.process_time()
        for _ in range(steps):
            state, metrics = update(state, sharding.put_batch(batch, mesh))
            jax.block_until_ready(metrics)
        took.append((time.process_time() - began) / steps)
    return {"step_seconds": min(took[1:])}


def number(value: float | None) -> str:
    """A loss in a table."""
    return "diverged" if value is None else f"{value:.4f}"
