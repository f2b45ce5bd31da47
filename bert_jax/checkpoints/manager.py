"""Checkpoints through Orbax: state, configuration, store fingerprint and checksums; asynchronous, restored on any mesh.

The step is all that data, masks and dropout need to resume exactly: each is a pure function of it.
A checkpoint that cannot be read, or that differs from what was saved, is set aside for the one before.
"""

import dataclasses
import functools
import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers as policies

from bert_jax import config as configs
from bert_jax import transforms
from bert_jax.checkpoints.changes import check_same
from bert_jax.checkpoints.checksums import checksums
from bert_jax.modeling import bert
from bert_jax.objectives import parts_of
from bert_jax.runtime.distributed import any_process
from bert_jax.runtime.trees import flatten
from configuration import foreign
from configuration.flags import from_dict, to_dict
from configuration.foreign import FormatError
from configuration.variants import ConfigError

FOLDER = "checkpoints"


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, or none that can be read. The message names the folder and the remedy."""


class Checkpointer:
    """Writes and reads the checkpoints of one work folder. A context manager: leaving it waits for the last write."""

    def __init__(self, workdir: Path, settings: configs.Checkpoints, regular: int = 0, scored: bool = False):
        self.workdir = workdir
        self.folder = folder_of(workdir, settings)
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                save_decision_policy=policies.AnySavePolicy([]),
                preservation_policy=kept(settings, regular, scored),
                best_fn=loss_of,
                best_mode="min",
                cleanup_tmp_directories=True,
            ),
            item_handlers={"state": ocp.PyTreeCheckpointHandler(), "run": ocp.JsonCheckpointHandler()},
        )

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._manager.close()
        except Exception as reason:
            if error is None:  # do not mask the original exception
                raise self._not_written(reason) from reason

    def latest(self) -> int | None:
        """The newest step that was written whole, or None."""
        return self._manager.latest_step()

    def save(
        self,
        step: int,
        state: Any,
        config: configs.Config,
        fingerprint: str,
        loss: float | None = None,
        score: float | None = None,
    ) -> None:
        """Starts writing; the state may be donated at once. Every process must call it.

        Args:
          loss: what `config.checkpoints.keep_best` compares, the lowest being the best.
          score: of a held-out evaluation of this step, the lowest being the best; then that is what is compared.

        Raises:
          CheckpointError: this one, or the one before, could not be written; those before it are as they were.
        """
        if step == self.latest():
            return
        run = signed({"config": to_dict(config), "store": fingerprint, "checksums": checksums(state), "score": score})
        metrics = {name: value for name, value in (("loss", loss), ("score", score)) if value is not None}
        items = ocp.args.Composite(state=ocp.args.PyTreeSave(state), run=ocp.args.JsonSave(run))
        try:
            self._manager.save(step, args=items, metrics=metrics or None, force=True)
        except Exception as reason:
            raise self._not_written(reason) from reason

    def restore(
        self, abstract: Any, config: configs.Config, fingerprint: str, accept_changes: bool = False
    ) -> Any | None:
        """The newest whole state, laid out as `abstract` says; None where there is none.

        Args:
          accept_changes: resume although the configuration or the store differs, if the arrays are the same.

        Raises:
          ConfigError: it comes from another configuration or another store.
          CheckpointError: there are checkpoints, but none is whole.
        """

        def check(run: Mapping[str, Any]) -> None:
            check_same(run, config, fingerprint, self.folder, accept_changes)
            other = sorted(flatten(abstract).keys() ^ run["checksums"].keys())
            if other:
                raise ConfigError(f"the run in {self.folder} keeps other arrays ({other[0]}): set its optimizer back")

        found = read_newest(self.folder, self._manager.all_steps(), lambda _: abstract, check)
        if found is None:
            return None
        step, _, state = found
        self._set_aside([newer for newer in self._manager.all_steps() if newer > step])
        return state

    def wait(self) -> None:
        """Until the write under way, if any, is whole on disk.

        Raises:
          CheckpointError: it could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as reason:
            raise self._not_written(reason) from reason

    def forget_after(self, step: int) -> None:
        """Deletes what was written after `step`: a run that goes back there writes those steps anew."""
        self.wait()
        for newer in [s for s in self._manager.all_steps() if s > step]:
            self._manager.delete(newer)

    def _set_aside(self, damaged: list[int]) -> None:
        """Renames damaged checkpoints, so that whole ones can take their steps."""
        if not damaged:
            return
        if jax.process_index() == 0:
            for step in damaged:
                (self.folder / str(step)).rename(free_name(self.folder / f"damaged-{step}"))
        any_process(False)  # nobody looks again before process 0 is done
        self._manager.reload()

    def _not_written(self, reason: Exception) -> CheckpointError:
        whole = max((int(p.name) for p in self.folder.iterdir() if p.name.isdigit()), default=None)
        newest = "there is none yet" if whole is None else f"the newest whole one is of step {whole}"
        return CheckpointError(
            f"a checkpoint could not be written to {self.folder}: {in_short(reason)}; {newest}; "
            "make room there (or fewer: config.checkpoints.keep) and run again to resume"
        )


@dataclasses.dataclass(frozen=True)
class LatestMultiples(policies.PreservationPolicy):
    """The newest `n` of the steps that `every` divides."""

    n: int
    every: int

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        regular = sorted(c.step for c in checkpoints if c.step % self.every == 0)[-self.n :]
        return [c.step in regular for c in checkpoints]


@dataclasses.dataclass(frozen=True)
class LowestScores(policies.PreservationPolicy):
    """The `n` of the lowest score, of those that were evaluated."""

    n: int

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        scores = {c.step: c.metrics["score"] for c in checkpoints if "score" in (c.metrics or {})}
        best = sorted(scores, key=lambda step: (scores[step], step))[: self.n]
        return [c.step in best for c in checkpoints]


def kept(settings: configs.Checkpoints, regular: int = 0, scored: bool = False) -> policies.PreservationPolicy:
    """Which checkpoints stay when a new one is written; among them the newest `regular` of every `every_steps`.

    Where they are `scored` by held-out evaluations, the best of them stays, whatever else does.
    """
    wanted: list[policies.PreservationPolicy] = [policies.LatestN(settings.keep)]
    if regular:
        wanted.append(LatestMultiples(regular, settings.every_steps))
    if settings.keep_every:
        wanted.append(policies.EveryNSteps(settings.keep_every))
    if scored:
        wanted.append(LowestScores(max(settings.keep_best, 1)))
    elif settings.keep_best:
        best = policies.BestN(
            get_metric_fn=loss_of, reverse=True, n=settings.keep_best, keep_checkpoints_without_metrics=False
        )
        wanted.append(best)
    return policies.AnyPreservationPolicy(wanted)


def loss_of(metrics: Mapping[str, float]) -> float:
    """What makes a checkpoint the best."""
    return metrics.get("loss", math.inf)


def folder_of(workdir: Path, settings: configs.Checkpoints) -> epath.Path:
    """Where the checkpoints of a work folder are."""
    return epath.Path(settings.folder) if settings.folder else epath.Path(Path(workdir).absolute()) / FOLDER


def restore_params(workdir: Path, which: str = "", checkpoints: str | None = None) -> tuple[configs.Config, dict, int]:
    """Configuration, parameters (on this process's first device) and step of a checkpoint of a folder.

    The parameters are those to evaluate and export: what the run's transforms make of the weights (config.transforms).
    The configuration's model reads them: it is that of the phase they come from.

    Args:
      which: the step, or "best" for the best by the held-out evaluations during training; if not given, the newest
        that is whole.
      checkpoints: as in `written_in`.

    Raises:
      ConfigError: the folder holds no such checkpoint, or they are elsewhere.
      CheckpointError: it is not whole.
    """
    folder, steps = written_in(workdir, checkpoints)
    steps = chosen(folder, steps, which) if which else steps
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def abstract(run: Mapping[str, Any]) -> Any:
        config = from_dict(configs.Config, run["config"])
        params = bert.abstract_params(config.model, parts_of(config))
        kept = jax.eval_shape(functools.partial(transforms.init, transforms.transforms_of(config)), params)
        tree = {"params": params, "transforms": kept} if kept else {"params": params}
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), tree)

    found = read_newest(folder, steps, abstract)
    if found is None:
        raise ConfigError(f"--workdir={workdir} has no checkpoint; train first: python -m bert_jax.train")
    step, run, tree = found
    config = from_dict(configs.Config, run["config"])
    params = transforms.apply(transforms.transforms_of(config), tree["params"], tree.get("transforms", {}))
    return config.as_of(step), params, step


def written_in(workdir: Path, checkpoints: str | None = None) -> tuple[epath.Path, list[int]]:
    """Where the checkpoints of a work folder are, and the steps of those that there are.

    Args:
      checkpoints: where they are, as the user names it; empty for within the work folder, which may be untrusted;
        None for wherever its configuration says.

    Raises:
      ConfigError: they are not within the work folder, but should be.
    """
    written = (Path(workdir) / "config.json").exists()
    settings = read_config(workdir).checkpoints if written else configs.Checkpoints()
    if checkpoints == "" and settings.folder and not foreign.lies_in(Path(workdir), settings.folder):
        raise ConfigError(
            f"{workdir} names the checkpoints {settings.folder}, which are outside that folder and not opened unless "
            f"you name them too: --checkpoints={settings.folder}"
        )
    folder = folder_of(workdir, dataclasses.replace(settings, folder=checkpoints) if checkpoints else settings)
    return folder, list(ocp.utils.checkpoint_steps(folder)) if folder.is_dir() else []


def chosen(folder: epath.Path, steps: list[int], which: str) -> list[int]:
    """The one of `steps` that --step names, or "best".

    Raises:
      ConfigError: there is none such.
    """
    if which == "best":
        scores = {step: score for step in steps if (score := read_run(folder / str(step)).get("score")) is not None}
        if not scores:
            raise ConfigError(
                f"--step=best: no checkpoint in {folder} was evaluated during training (config.eval_every); "
                "leave --step out for the newest"
            )
        return [min(scores, key=lambda step: (scores[step], step))]
    if which not in map(str, steps):
        known = ", ".join(map(str, sorted(steps)))
        raise ConfigError(f"--step={which}: there is no such checkpoint in {folder}; there are: best, {known}")
    return [int(which)]


def read_newest(
    folder: epath.Path,
    steps: Any,
    abstract: Callable[[Mapping[str, Any]], Any],
    check: Callable[[Mapping[str, Any]], None] = lambda run: None,
) -> tuple[int, Mapping[str, Any], Any] | None:
    """The newest of `steps` that is whole, as (step, run, state); what is wrong with newer ones is said on stderr.

    Args:
      abstract: what to read of the state, given the run that wrote it.
      check: raises ConfigError if the run is not to be read.
    """
    for step in sorted(steps, reverse=True):
        wrong, found = None, None
        try:
            run = read_run(folder / str(step))
            check(run)
            found = step, run, read_state(folder / str(step), abstract(run), run["checksums"])
        except ConfigError:
            raise
        except Exception as reason:  # a damaged file can make Orbax raise anything
            wrong = in_short(reason)
        if not any_process(wrong is not None):
            return found
        print(
            f"the checkpoint of step {step} in {folder} is damaged ({wrong or 'as another process found'}); "
            "trying the one before",
            file=sys.stderr,
        )
    if steps:
        raise CheckpointError(
            f"no checkpoint in {folder} is whole (steps {', '.join(map(str, sorted(steps)))}): "
            "restore the folder from a copy, or train into another --workdir"
        )
    return None


def read_run(folder: epath.Path) -> Mapping[str, Any]:
    """Configuration, store fingerprint and checksums of a checkpoint."""
    run = ocp.JsonCheckpointHandler().restore(folder / "run")
    if signed(run) != run:
        raise CheckpointError("its configuration differs from what was saved")
    return run


def read_state(folder: epath.Path, abstract: Any, wanted: Mapping[str, int]) -> Any:
    """The part of a checkpoint's state that `abstract` names, compared with its checksums."""
    restore = ocp.args.PyTreeRestore(
        abstract, restore_args=ocp.checkpoint_utils.construct_restore_args(abstract), partial_restore=True
    )
    state = ocp.PyTreeCheckpointHandler().restore(folder / "state", args=restore)
    wrong = [name for name, value in checksums(state).items() if wanted.get(name) != value]
    if wrong:
        raise CheckpointError(f"{wrong[0]} differs from what was saved")
    return state


def signed(run: Mapping[str, Any]) -> dict[str, Any]:
    """The run with the SHA-256 of its contents."""
    contents = {name: value for name, value in run.items() if name != "sha256"}
    text = json.dumps(contents, sort_keys=True)
    return contents | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def free_name(path: epath.Path) -> epath.Path:
    """The path, or with the first number after it that nothing has."""
    number, free = 1, path
    while free.exists():
        number, free = number + 1, path.with_name(f"{path.name}-{number}")
    return free


def in_short(error: Exception) -> str:
    """An error of the system or of Orbax in at most 200 characters."""
    return " ".join(f"{error}".split())[:200] or type(error).__name__


def read_config(workdir: Path) -> configs.Config:
    """The configuration that a work folder was trained with, from its config.json.

    Raises:
      ConfigError: there is none, or it is damaged.
    """
    file = Path(workdir) / "config.json"
    if not file.exists():
        raise ConfigError(f"--workdir={workdir} has no config.json; train first: python -m bert_jax.train")
    try:
        return from_dict(configs.Config, foreign.read_json(file))
    except FormatError:
        raise
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
