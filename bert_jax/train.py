"""Pretrains: flags → mesh → store → state → resume → loop.

    python -m bert_jax.train --config=configs/demo.py --workdir=runs/demo

Run again, it goes on from the newest checkpoint and ends with the same weights, to the bit, as a run that was
never interrupted: batches, masks and dropout are functions of (seed, step), and nothing else is remembered.
"""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import numpy as np

from bert_jax import cli, compilation_cache, config_flags, distributed, sharding, start
from bert_jax.checkpoint import Checkpointer
from bert_jax.config import Config, Phase
from bert_jax.kernels import explain, request_for
from bert_jax.layers_log import LayersLog
from bert_jax.metrics import MetricsLog, read_metrics
from bert_jax.objectives import Objective, Vocabulary
from bert_jax.rollback import Watch, go_back, regular_checkpoints, skipped_rows
from bert_jax.train_state import abstract_state, batch_sizes_of, phase_at, statistics_of
from bert_jax.train_step import jit_train_step
from bert_jax.variants import ConfigError, load, module
from data_pipeline import pipeline
from data_pipeline.store import Store

INPUT_WAIT, TO_DEVICE = "wait for input", "copy to the device"  # what a trace calls them


def main() -> dict[str, Any]:
    """The command."""
    config, workdir = config_flags.from_flags(), Path(cli.FLAGS.workdir)
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
    objective = make_objective(config, store)
    examples = [open_examples(config, store, number) for number in range(len(config.phases))]
    # Compiled when they are first called; those that also give the statistics, only if these are wanted.
    updates, updates_with_statistics = (
        [jit_train_step(config, phase, objective, mesh, statistics) for phase in config.phases]
        for statistics in (False, config.statistics_every > 0)
    )

    with Checkpointer(workdir, config.checkpoints, regular_checkpoints(config)) as checkpoints, Stop() as stop:
        # -------------------------------------------------------- state: where training starts, see start.py
        state, step, begun = start.begin(config, store, mesh, checkpoints, accept_changes)
        if jax.process_index() == 0:
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
                    state, metrics = (updates_with_statistics if wanted else updates)[number](state, batch)
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
                    begin = lambda: start.begin(config, store, mesh, checkpoints, accept_changes)
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


def check(config: Config) -> jax.sharding.Mesh:
    """The run's mesh, after trying on abstract shapes all that the configuration names.

    Raises:
      ConfigError: something in it cannot work on these devices.
    """
    mesh = sharding.make_mesh(config.mesh)
    sharding.check(config, mesh)
    abstract_state(config, mesh)
    if config.statistics_every:
        statistics_of(config)
    load("bert_jax.objectives", config.objective)(config.model, Vocabulary(config.model.vocab_size, 0, 0, 0, 0))
    module("data_pipeline.rows", config.data.rows.name)
    kernels(config, mesh)
    return mesh


def kernels(config: Config, mesh: jax.sharding.Mesh) -> list[str]:
    """Which attention kernel serves and why: one line, or one for each length of row where they differ.

    Raises:
      ConfigError: the named kernel cannot.
    """
    asked = sharding.on_mesh(mesh, lambda length: request_for(config.model, length, dropout=True))
    lines = {phase.length: explain(config.model, asked(phase.length)) for phase in config.phases}
    if len(set(lines.values())) == 1:
        return list(lines.values())[:1]
    return [f"rows of {length} tokens: {line}" for length, line in lines.items()]


def open_store(config: Config, workdir: Path) -> Store:
    """The store that the configuration names, or the work folder's own; checked against the model.

    Raises:
      ConfigError: its vocabulary is not the model's.
      DataError: there is none, or it is damaged.
    """
    cache = int(config.data.cache_gb * 1e9) or None
    store = Store.open(config.data.store or workdir / "store", verify="once", cache_bytes=cache)
    spare = config.model.vocab_size - store.vocab_size  # some encoders have more embeddings than pieces
    if spare < 0 or (spare and not config.init_from):
        raise ConfigError(
            f"config.model.vocab_size is {config.model.vocab_size}, but the tokenizer of the store {store.path} has "
            f"{store.vocab_size} pieces: set --config.model.vocab_size={store.vocab_size}, or give another store"
        )
    return store


def make_objective(config: Config, store: Store) -> Objective:
    """The configured objective on the store's vocabulary."""
    return load("bert_jax.objectives", config.objective)(config.model, vocabulary_of(store))


def vocabulary_of(store: Store) -> Vocabulary:
    """Sizes and special ids of the store's tokenizer."""
    t = store.tokenizer
    return Vocabulary(size=store.vocab_size, pad=t.pad_id, cls=t.cls_id, sep=t.sep_id, mask=t.mask_id)


def open_examples(config: Config, store: Store, phase: int) -> pipeline.Examples:
    """The endless stream of training rows of one phase."""
    return pipeline.Examples(
        pipeline.mixed(store.split("train"), config.data.weights),
        config.data.rows,
        config.phases[phase].length,
        pipeline.specials_of(store.tokenizer),
        seed=config.seed + phase,
        isolate=config.model.isolate_documents,
        weights=config.data.weights,
    )


def data_facts(config: Config, store: Store) -> dict[str, Any]:
    """What the report says of the text: documents, tokens, sources, padding and row lengths."""
    facts = pipeline.row_facts(
        store.split("train"), config.data.rows, config.phases[-1].length, isolate=config.model.isolate_documents
    )
    splits = {name: store.split(name) for name in ("train", "held_out")}
    return {
        "splits": {
            name: {"documents": s.documents, "sentences": s.sentences, "tokens": s.tokens} for name, s in splits.items()
        },
        "rows": facts.rows,
        "share_of_padding": facts.padding,
        "cut_documents": facts.cut_documents,
        "row_lengths": histogram(np.asarray(facts.row_lengths), bins=16),
        "sources": store.manifest.made.get("sources", []),
        "cleaning": store.manifest.made.get("cleaning", {}),
    }


def histogram(counts: np.ndarray, bins: int) -> dict[str, list[int]]:
    """counts [L+1] by length → edges [bins+1] and counts [bins] of lengths from 1 to L."""
    edges = np.unique(np.linspace(1, len(counts), bins + 1).round().astype(int))
    return {"edges": edges.tolist(), "counts": np.add.reduceat(counts, edges[:-1]).tolist()}


def device_batches(
    examples: Any, phase: Phase, done: int, mesh: jax.sharding.Mesh, left_out: int = 0
) -> Iterator[dict[str, jax.Array]]:
    """The phase's batches from number `done` on the mesh, the next one on its way while this one is used.

    `left_out` rows of the stream, before the first batch, are not read.
    """
    host = pipeline.batches(
        examples,
        batch_sizes_of(phase),
        done,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        first_example=left_out,
    )
    ahead: list[dict[str, jax.Array]] = []
    for _ in range(done, phase.steps):
        with jax.profiler.TraceAnnotation(INPUT_WAIT):
            batch = next(host)
        with jax.profiler.TraceAnnotation(TO_DEVICE):
            ahead.append(sharding.put_batch(batch, mesh))
        if len(ahead) > 1:
            yield ahead.pop(0)
    yield from ahead


class Progress:
    """Logs every `log_every` steps, one logged step late, so that reading never makes the devices wait.

    A line's time is that when the step before it was done: the devices then have this one to do, however far ahead
    of them the loop could run.
    """

    def __init__(self, config: Config, workdir: Path, step: int):
        self._every, self._steps, self._workdir = config.log_every, config.steps, workdir
        self._open(step)

    def _open(self, step: int) -> None:
        self.log = MetricsLog(self._workdir, step, self._steps, enabled=jax.process_index() == 0)
        self._waiting: tuple[int, dict[str, jax.Array], list[jax.Array], float] | None = None
        self._tokens: list[jax.Array] = []
        self._before: jax.Array | None = None  # the loss of the step before
        self._layers = LayersLog(self._workdir, step, enabled=jax.process_index() == 0)
        file = self._workdir / "metrics.jsonl"
        logged = read_metrics(file) if step and file.exists() else []
        self._noted_step, self._noted_time = step, time.perf_counter()
        self._seconds = logged[-1]["train_seconds"] if logged else 0.0
        self._first = step + 1
        self.last: dict[str, Any] = logged[-1] if logged else {}

    def go_back(self, step: int) -> None:
        """Forgets what was logged after `step`: the loop does those steps anew."""
        self.log.close()
        self._open(step)

    def __enter__(self) -> "Progress":
        self.log.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self.flush()
        self.log.__exit__(*error)

    def step(self, step: int, metrics: dict[str, Any]) -> None:
        """Notes one update's metrics, still on the device."""
        self._tokens.append(metrics.pop("tokens"))
        if "statistics" in metrics:
            self._layers(step, metrics.pop("statistics"))
        if step % self._every == 0 or step in (self._first, self._steps):
            self._read()
            jax.block_until_ready(self._before)
            self._waiting = step, metrics, self._tokens, time.perf_counter()
            self._tokens = []
            if step == self._first:
                self._read()
        self._before = metrics["loss"]

    def flush(self) -> None:
        """Logs what was noted and waits, after the devices have done it."""
        self._read()
        self._layers.write()

    def _read(self) -> None:
        if self._waiting is None:
            return
        (step, metrics, tokens, now), self._waiting = self._waiting, None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        elapsed, self._noted_time = now - self._noted_time, now
        self._seconds += elapsed
        values["train_seconds"] = self._seconds
        if step != self._first:  # the first one holds the compilation
            values["step_seconds"] = elapsed / (step - self._noted_step)
            values["tokens_per_second"] = float(sum(jax.device_get(tokens))) / elapsed
        self._noted_step = step
        self.log(step, values)
        self.last = values


class Stop:
    """Notes Ctrl-C and SIGTERM, so that the loop can save before it ends; a second Ctrl-C ends it at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "Stop":
        self._old = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True


if __name__ == "__main__":
    flags_of_run = (config_flags.config_flag, cli.workdir_flag, cli.accept_changes_flag)
    cli.run(main, *flags_of_run, distributed.distributed_flags, compilation_cache.cache_flag)
