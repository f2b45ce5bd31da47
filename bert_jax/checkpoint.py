"""Checkpoints through Orbax: state, configuration and store fingerprint; asynchronous, restored onto any mesh.

The state's step is all that data, masks and dropout need to go on exactly: each is a pure function of it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp

from bert_jax import config as configs
from bert_jax.config_flags import from_dict, to_dict
from bert_jax.modeling import bert
from bert_jax.variants import ConfigError

FOLDER = "checkpoints"
# What may change between two runs in one work folder: it does not touch the weights that come out.
FREE = (
    "name",
    "checkpoints",
    "evaluation",
    "log_every",
    "examples",
    "mesh",
    "data.workers",
    "data.store",
    "model.unroll",
)


class Checkpointer:
    """Writes and reads the checkpoints of one work folder. A context manager: leaving it waits for the last write."""

    def __init__(self, workdir: Path, settings: configs.Checkpoints):
        self._manager = ocp.CheckpointManager(
            workdir.absolute() / FOLDER,
            options=ocp.CheckpointManagerOptions(
                save_decision_policy=ocp.checkpoint_managers.AnySavePolicy([]),
                preservation_policy=ocp.checkpoint_managers.LatestN(settings.keep),
                cleanup_tmp_directories=True,
            ),
            item_handlers={"state": ocp.PyTreeCheckpointHandler(), "run": ocp.JsonCheckpointHandler()},
        )

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.close()

    def latest(self) -> int | None:
        """The newest step that was written whole, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, config: configs.Config, fingerprint: str) -> None:
        """Starts writing; the state may be donated at once. Every process must call it."""
        if step == self.latest():
            return
        run = {"config": to_dict(config), "store": fingerprint}
        self._manager.save(
            step, args=ocp.args.Composite(state=ocp.args.PyTreeSave(state), run=ocp.args.JsonSave(run)), force=True
        )

    def restore(self, abstract: Any, config: configs.Config, fingerprint: str) -> Any | None:
        """The newest state, laid out as `abstract` says; None where there is none.

        Raises:
          ConfigError: it comes from another configuration or another store.
        """
        step = self.latest()
        if step is None:
            return None
        run = self._manager.restore(step, args=ocp.args.Composite(run=ocp.args.JsonRestore()))["run"]
        check_same(run, config, fingerprint, self._manager.directory)
        restore = ocp.args.PyTreeRestore(abstract, restore_args=ocp.checkpoint_utils.construct_restore_args(abstract))
        return self._manager.restore(step, args=ocp.args.Composite(state=restore))["state"]

    def wait(self) -> None:
        """Until the write under way, if any, is whole on disk."""
        self._manager.wait_until_finished()


def restore_params(workdir: Path) -> tuple[configs.Config, dict, int]:
    """The configuration, the parameters (on this process's first device) and the step of a folder's newest checkpoint.

    Raises:
      ConfigError: the folder holds no checkpoint.
    """
    folder = Path(workdir).absolute() / FOLDER
    if not folder.is_dir():
        raise ConfigError(f"--workdir={workdir} has no checkpoint; train first: python -m bert_jax.train")
    options = ocp.CheckpointManagerOptions(read_only=True)
    handlers = {"state": ocp.PyTreeCheckpointHandler(), "run": ocp.JsonCheckpointHandler()}
    with ocp.CheckpointManager(folder, options=options, item_handlers=handlers) as manager:
        step = manager.latest_step()
        if step is None:
            raise ConfigError(f"--workdir={workdir} has no whole checkpoint; train first: python -m bert_jax.train")
        run = manager.restore(step, args=ocp.args.Composite(run=ocp.args.JsonRestore()))["run"]
        config = from_dict(run["config"])
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = {
            "params": jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), bert.abstract_params(config.model)
            )
        }
        restore = ocp.args.PyTreeRestore(
            abstract, restore_args=ocp.checkpoint_utils.construct_restore_args(abstract), partial_restore=True
        )
        state = manager.restore(step, args=ocp.args.Composite(state=restore))["state"]
    return config, state["params"], step


def check_same(run: Mapping[str, Any], config: configs.Config, fingerprint: str, folder: Any) -> None:
    """Raises ConfigError, naming the difference, if a checkpoint's run is not this one."""
    old, new = flatten(run["config"]), flatten(to_dict(config))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name) and not any(name == f or name.startswith(f + ".") for f in FREE):
            raise ConfigError(
                f"config.{name} is {new.get(name)!r}, but the run in {folder} has {old.get(name)!r}: "
                "set it back, or train into another --workdir"
            )
    if run["store"] != fingerprint:
        raise ConfigError(
            f"the store has fingerprint {fingerprint[:12]}, but the run in {folder} was trained on "
            f"{run['store'][:12]}: "
            "give that store back (config.data.store), or train into another --workdir"
        )


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts and lists → {dotted name: value}."""
    if isinstance(tree, Mapping):
        items = tree.items()
    elif isinstance(tree, list) and any(isinstance(x, Mapping) for x in tree):
        items = dict(enumerate(tree)).items()  # type: ignore[assignment]
    else:
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for name, value in items:
        flat |= flatten(value, f"{prefix}.{name}" if prefix else str(name))
    return flat


def read_config(workdir: Path) -> configs.Config:
    """The configuration that a work folder was trained with, from its config.json."""
    try:
        return from_dict(json.loads((Path(workdir) / "config.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigError(f"--workdir={workdir} has no config.json; train first: python -m bert_jax.train") from None
