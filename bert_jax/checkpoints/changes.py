"""What changed between two runs in one work folder: shown, and refused where it would change what the weights mean."""

import sys
from collections.abc import Mapping
from typing import Any

import jax

from bert_jax import config as configs
from bert_jax.modeling import bert
from bert_jax.objectives import parts_of
from bert_jax.runtime import trees
from configuration.flags import from_dict, to_dict
from configuration.variants import ConfigError

# Of the machine, not of the run: it may also differ between the processes of a run.
OF_A_MACHINE = ("data.store", "data.cache_gb", "data.workers")
# What may change freely: it does not touch the weights that come out.
RESUME_SAFE = (
    *OF_A_MACHINE,
    "name",
    "checkpoints",
    "evaluation",
    "evaluators",
    "eval_every",
    "eval_rows",
    "best_metric",
    "best_mode",
    "patience",
    "loggers",
    "log_every",
    "statistics_every",
    "hooks",
    "examples",
    "mesh",
    "model.unroll",
)


def check_same(
    run: Mapping[str, Any], config: configs.Config, fingerprint: str, folder: Any, accept: bool = False
) -> None:
    """Says on stderr in what `config` and the store differ from those of a checkpoint's run.

    Args:
      run: its "config" (as `config_flags.to_dict` gives it) and "store" (the fingerprint).
      accept: whether changes are wanted that make the run another one.

    Raises:
      ConfigError: there are such changes, and they are not wanted; or the model's arrays are others.
    """
    old = read(run["config"])
    changes = differences(old, to_dict(config))
    if run["store"] != fingerprint:
        changes["the store"] = run["store"][:12], fingerprint[:12]
    grave = {name: values for name, values in changes.items() if not is_resume_safe(name)}
    if grave and not accept:
        raise ConfigError(
            f"the run in {folder} is another one: {in_words(grave)}; set that back, train into another --workdir, or "
            "resume with the change by --accept_changes"
        )
    if grave and arrays(from_dict(configs.Config, old)) != arrays(config):
        raise ConfigError(f"the run in {folder} has a model of other arrays: {in_words(grave)}; set that back")
    if changes and jax.process_index() == 0:
        print(f"changed since the run in {folder} was saved: {in_words(changes)}", file=sys.stderr)


def read(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """A saved configuration with the defaults of fields that are newer than it."""
    try:
        return to_dict(from_dict(configs.Config, tree))
    except ConfigError:  # fields that no longer exist: they are shown as a change
        return tree


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """{dotted name: (old value, new value)} of all that is not the same; None for what is not there."""
    before, after = flatten(old), flatten(new)
    every = sorted(before.keys() | after.keys())
    return {name: (before.get(name), after.get(name)) for name in every if before.get(name) != after.get(name)}


def is_resume_safe(name: str) -> bool:
    """Whether a field may change freely."""
    return any(name == free or name.startswith(free + ".") for free in RESUME_SAFE)


def in_words(changes: Mapping[str, tuple[Any, Any]]) -> str:
    """seed 0 → 3, optimizer.name 'lamb' → 'adamw'"""
    return ", ".join(f"{name} {old!r} → {new!r}" for name, (old, new) in changes.items())


def arrays(config: configs.Config) -> Any:
    """Names and shapes of a model's parameters."""
    return jax.tree.map(lambda x: (x.shape, x.dtype), bert.abstract_params(config.model, parts_of(config)))


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's values by their dotted names; a list of plain values is one of them, and so is None."""
    return trees.flatten(tree, is_leaf=_is_value)


def _is_value(tree: Any) -> bool:
    return tree is None or (isinstance(tree, list) and not any(isinstance(each, Mapping) for each in tree))
