"""Searches over fields of the configuration: trials by a grid or by Optuna, bad ones ended early, a table and a plot.

    python -m bert_jax.sweep --config=configs/demo.py --config.data.store=runs/demo/store --workdir=runs/sweep \\
        --vary='phases.0.learning_rate=2e-3..2e-2:log' --vary='phases.0.batch_size=8|16|32' --trials=20

    python -m bert_jax.sweep --config=configs/tasks/polarity.py --config.init_from=runs/demo --workdir=runs/sweep \\
        --vary='learning_rate=1e-5..1e-4:log' --vary='batch_size=16|32' --vary='schedule.warmup=0.0|0.1' --trials=10

Pretraining is evaluated by its held-out loss, fine-tuning by its highest dev metric, which also selects the weights.
Each trial is a training run in a process of its own, in workdir/trials. What is known of all of them is in
workdir/sweep.journal: run again, a sweep resumes, with the trainings that were running. The same command on
several machines that share the folder works on the same sweep, one trial a machine at a time.
"""

import contextlib
import importlib.util
import itertools
import json
import math
import os
import signal
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from bert_jax.config import FineTuning
from bert_jax.sweeping import picture, space, trial
from bert_jax.sweeping.space import Choice, Space
from bert_jax.tasks import load_task
from configuration import cli, locks
from configuration import flags as config_flags
from configuration.variants import ConfigError
from data_pipeline.store import Store

FLAGS = flags.FLAGS
WAIT_SECONDS = 2.0  # between two looks at trials that other processes have


def define_flags() -> None:
    """--workdir, --vary, --space, --sampler, --trials, --pruner, --rungs, --measure, --seed"""
    cli.workdir_flag()
    flags.DEFINE_multi_string("vary", [], "FIELD=LOW..HIGH[:log][:POINTS] or FIELD=A|B|C; give it for each field.")
    flags.DEFINE_string(
        "space", "", "Python file that assigns `space`, instead of --vary (bert_jax/sweeping/space.py)."
    )
    flags.DEFINE_enum("sampler", "tpe", ["tpe", "grid"], "Which trials: Optuna's TPE, or every combination.")
    flags.DEFINE_integer("trials", 20, "How many trials, for tpe.", lower_bound=1)
    flags.DEFINE_enum("pruner", "median", ["median", "asha", "none"], "Which trials are ended early.")
    flags.DEFINE_integer("rungs", 10, "How often in a training its logged loss is compared.", lower_bound=2)
    flags.DEFINE_enum(
        "measure",
        "eval_loss",
        ["eval_loss", "loss"],
        "What is searched for: the least held-out loss (fine-tuning: the highest dev metric), or least logged loss.",
    )
    flags.DEFINE_integer("seed", 0, "Of the sampler.")


def main() -> dict[str, Any]:
    """The command."""
    if bool(FLAGS.vary) == bool(FLAGS.space):
        raise ConfigError("give what to vary, either with --vary=FIELD=VALUES or in a file with --space=FILE")
    varied = space.read(FLAGS.space) if FLAGS.space else space.parse(FLAGS.vary)
    workdir = Path(FLAGS.workdir)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    figures = Sweep(FLAGS.config, config_flags.given(), varied, workdir, FLAGS.sampler, FLAGS.trials, FLAGS.pruner,
                    FLAGS.rungs, FLAGS.measure == "eval_loss", FLAGS.seed).run()  # fmt: skip
    print(describe(figures))
    return figures


class Sweep:
    """A sweep in a work folder, as one of the processes that work on it.

    Raises:
      ConfigError: a field or a value that the configuration does not take, no store or encoder, another sweep in the
        folder, or Optuna is missing.
    """

    def __init__(
        self,
        config: str,
        overrides: Mapping[str, str],
        varied: Space,
        workdir: Path,
        sampler: str = "tpe",
        trials: int = 20,
        pruner: str = "median",
        rungs: int = 10,
        held_out: bool = True,
        seed: int = 0,
        commands: trial.Commands | None = None,
    ):
        if importlib.util.find_spec("optuna") is None:
            raise ConfigError("a sweep needs Optuna: pip install 'bert_jax[sweep]'")
        self.varied, self.workdir, self.sampler, self.seed, self.rungs = varied, workdir, sampler, seed, rungs
        self.base = config_flags.override(config_flags.read(config, ("init_from",)), overrides)
        self.tuned = isinstance(self.base, FineTuning)
        for field, values in varied.items():
            tried = values.values if isinstance(values, Choice) else (values.low, values.high)
            for value in tried:
                config_flags.override(self.base, {field: space.as_text(value)})
        self.measure = self._measure(held_out)
        self.sign = -1 if self.tuned and held_out else 1  # the study searches for the least
        self.commands = commands or self._commands(config, overrides, held_out)
        self.grid = {f: values.grid(f) for f, values in varied.items()} if sampler == "grid" else {}
        self.trials = math.prod(map(len, self.grid.values())) if self.grid else trials
        workdir.mkdir(parents=True, exist_ok=True)
        self.study = self._open(pruner)

    def run(self) -> dict[str, Any]:
        """Works until every trial is done, here or elsewhere; returns the table.

        Raises:
          ConfigError: no trial could be trained.
        """
        while True:
            started = self._next()
            if started is not None:
                self._do(*started)
            elif any(self._is_running(t) for t in self.study.get_trials(deepcopy=False)):
                time.sleep(WAIT_SECONDS)
            else:
                break
        return self._write()

    def _measure(self, held_out: bool) -> str:
        """The name of the objective of the search."""
        if not held_out:
            return "loss"
        return f"dev_{self.base.best_metric or load_task(self.base.task).main}" if self.tuned else "eval_loss"

    def _commands(self, config: str, overrides: Mapping[str, str], held_out: bool) -> trial.Commands:
        """The processes of a trial, after a look at what all of them need."""
        if self.tuned:
            if not self.base.init_from:
                raise ConfigError("there is no encoder to fine-tune: give --config.init_from=, a folder with one")
            return trial.tuning_commands(config, overrides, self.measure if held_out else "")
        store = self.base.data.store or str(self.workdir / "store")
        Store.open(store)
        return trial.commands(config, {**overrides, "data.store": str(Path(store).absolute())}, held_out)

    def _open(self, pruner: str) -> Any:
        """The study in the work folder, a new one if there is none."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", module="optuna")
        study = optuna.create_study(
            study_name="sweep",
            storage=JournalStorage(JournalFileBackend(str(self.workdir / "sweep.journal"))),
            pruner={
                "median": optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1),
                "asha": optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
                "none": optuna.pruners.NopPruner(),
            }[pruner],
            load_if_exists=True,
        )
        what = {
            "config": config_flags.to_dict(self.base),
            "space": {field: repr(values) for field, values in self.varied.items()},
            "measure": self.measure,
        }
        what = json.loads(json.dumps(what))
        with self._alone():
            for name, value in what.items():
                if name not in study.user_attrs:
                    study.set_user_attr(name, value)
                elif study.user_attrs[name] != value:
                    raise ConfigError(
                        f"--workdir={self.workdir} holds a sweep with another {name}: restore it, or give another one"
                    )
            for point in itertools.product(*self.grid.values()) if self.grid else ():
                study.enqueue_trial(dict(zip(self.grid, point, strict=True)), skip_if_exists=True)
        return study

    @contextlib.contextmanager
    def _alone(self) -> Any:
        """One process at a time."""
        descriptor = locks.hold(self.workdir / "sweep.lock", wait=True)
        assert descriptor is not None
        try:
            yield
        finally:
            os.close(descriptor)

    def _next(self) -> tuple[Any, int] | None:
        """A trial to run and the lock of its folder: one whose process is gone, or a new one; None if all are done."""
        import optuna

        with self._alone():
            known = self.study.get_trials(deepcopy=False)
            # Drawn anew for each trial: a resumed sweep draws what it would have drawn.
            self.study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(known), multivariate=True)
            for old in filter(self._is_running, known):
                descriptor = locks.hold(self._folder(old.number) / "lock", wait=False)
                if descriptor is not None:
                    return self._with_fields(optuna.trial.Trial(self.study, old._trial_id)), descriptor
            if len(known) >= self.trials and not any(t.state.name == "WAITING" for t in known):
                return None
            new = self.study.ask()
            descriptor = locks.hold(self._folder(new.number) / "lock", wait=False)
            assert descriptor is not None
            return self._with_fields(new), descriptor

    def _with_fields(self, chosen: Any) -> Any:
        """The trial with a value for each field; those that it has stay."""
        for field, values in self.varied.items():
            if self.grid:
                chosen.suggest_categorical(field, self.grid[field])
            elif isinstance(values, Choice):
                chosen.suggest_categorical(field, values.values)
            elif values.whole:
                chosen.suggest_int(field, int(values.low), int(values.high), log=values.log)
            else:
                chosen.suggest_float(field, values.low, values.high, log=values.log)
        return chosen

    def _do(self, chosen: Any, descriptor: int) -> None:
        """Trains a trial to its end and records the outcome."""
        started = time.time()
        try:
            self._tell(chosen, self._train(chosen, descriptor), time.time() - started)
        finally:
            os.close(descriptor)  # only once it is told: a running trial without a lock is anyone's to take up
        self._write()

    def _train(self, chosen: Any, descriptor: int) -> trial.Outcome:
        """Trains a trial in its folder, or resumes it; fields that contradict each other fail."""

        def report(rung: int, loss: float) -> bool:
            chosen.report(loss, rung)
            return chosen.should_prune()

        fields = {field: space.as_text(value) for field, value in chosen.params.items()}
        try:
            fitting = config_flags.override(self.base, fields)
        except ConfigError as error:  # values that do not go together
            return trial.Outcome("failed", None, str(error))
        steps = 0 if self.tuned else fitting.steps
        return trial.run(self._folder(chosen.number), fields, steps, self.rungs, self.commands, report, descriptor)

    def _tell(self, chosen: Any, outcome: trial.Outcome, seconds: float) -> None:
        """Records the outcome of a trial."""
        from optuna.trial import TrialState

        chosen.set_user_attr("note", outcome.note)
        chosen.set_user_attr("seconds", seconds)
        state = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}[outcome.state]
        with self._alone():
            told = self.sign * outcome.value if state == TrialState.COMPLETE and outcome.value is not None else None
            self.study.tell(chosen.number, told, state=state)

    def _write(self) -> dict[str, Any]:
        """Writes sweep.json and sweep.png from what is known by now."""
        rows = [
            {
                "trial": t.number,
                "state": t.state.name.lower(),
                "value": self.sign * t.value if t.state.name == "COMPLETE" else None,
                "fields": dict(t.params),
                "losses": {str(rung): loss for rung, loss in sorted(t.intermediate_values.items())},
                "seconds": t.user_attrs.get("seconds"),
                "note": t.user_attrs.get("note", ""),
            }
            for t in self.study.get_trials(deepcopy=False)
            if t.state.name != "WAITING"
        ]
        done = [row for row in rows if row["value"] is not None]
        if rows and all(row["state"] == "fail" for row in rows) and len(rows) >= self.trials:
            raise ConfigError(f"no trial could be trained; the first one says: {rows[0]['note']}")
        best = min(done, key=lambda row: self.sign * row["value"]) if done else None
        figures = {"measure": self.study.user_attrs["measure"], "best": best, "rungs": self.rungs, "trials": rows}
        figures["highest"] = self.sign < 0
        with self._alone():
            cli.write_json(self.workdir / "sweep.json", figures)
            if len(done) > 1:
                picture.write(self.workdir / "sweep.png", figures)
        return figures

    def _folder(self, number: int) -> Path:
        return self.workdir / "trials" / f"{number:04d}"

    @staticmethod
    def _is_running(known: Any) -> bool:
        return known.state.name == "RUNNING"


def describe(figures: Mapping[str, Any]) -> str:
    """The trials as a table, the best first; those that ended early after them."""
    sign = -1 if figures["highest"] else 1
    rows = sorted(figures["trials"], key=lambda row: (row["value"] is None, sign * (row["value"] or 0), row["trial"]))
    fields = list(dict.fromkeys(field for row in rows for field in row["fields"]))
    heads = ["trial", *fields, figures["measure"], ""]
    cells = [
        [
            str(row["trial"]),
            *(f"{row['fields'].get(field, ''):.4g}" if isinstance(row["fields"].get(field), float)
              else str(row["fields"].get(field, "")) for field in fields),
            f"{row['value']:.4f}" if row["value"] is not None else row["state"],
            row["note"],
        ]
        for row in rows
    ]  # fmt: skip
    widths = [max(len(line[i]) for line in [heads, *cells]) for i in range(len(heads) - 1)]
    lines = [
        "  ".join([*(c.rjust(w) for c, w in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in [heads, *cells]
    ]
    if figures["best"]:
        flags = " ".join(f"--config.{f}={space.as_text(v)}" for f, v in figures["best"]["fields"].items())
        lines += ["", f"the best: {flags}"]
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main, config_flags.config_flag, define_flags)
