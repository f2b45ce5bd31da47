"""Where training starts. The first of these that exists:

1. the newest checkpoint of the work folder: the run resumes, to the bit;
2. `config.resume_from`, the work folder of another run: the whole state of its newest checkpoint, that is weights,
   moments and step, so that schedule, data and masks continue after that step; other differences between the two
   configurations are logged;
3. `config.init_from`, any folder that `bert_jax.load` opens: its weights, at step 0, with the architecture and the
   tokenizer that belong to them; heads that it lacks start fresh, those that are not trained are kept for the export;
4. random weights; word embeddings by co-occurrence, with `config.cooccurrence`.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl.flags import FLAGS

from bert_jax.checkpoints import changes, kept
from bert_jax.checkpoints.manager import Checkpointer, read_newest, written_in
from bert_jax.config import Config, Model
from bert_jax.formats import family, folder
from bert_jax.modeling import bert
from bert_jax.runtime import distributed
from bert_jax.runtime.trees import flatten
from bert_jax.training import new_pieces
from bert_jax.training.state import State, abstract_state, init_state
from configuration import flags as config_flags
from configuration.variants import ConfigError, Variant
from data_pipeline import checkpoint_tokenizer, cooccurrence
from data_pipeline.store import Store

# Fields of the model that a run may choose, whatever encoder it starts from.
CHOSEN = (*family.NEUTRAL, "dropout", "attention_dropout", "init_std")


class Start(NamedTuple):
    """Where training starts."""

    state: State
    step: int  # also in the state, which the devices may still compute: compiling need not wait for it
    said: str  # the log line about it


def init_or_resume(
    config: Config, store: Store, mesh: jax.sharding.Mesh, checkpoints: Checkpointer, accept_changes: bool = False
) -> Start:
    """Where training starts. Every process must call it.

    Args:
      accept_changes: resume from the work folder's checkpoint although its configuration or store differs.

    Raises:
      ConfigError: what the configuration names is not there or does not fit.
      CheckpointError: there are checkpoints, but none is whole.
    """
    if config.data.store and jax.process_index() == 0:  # a store of its own is in the work folder anyway
        checkpoint_tokenizer.keep(store.tokenizer, checkpoints.workdir)
    abstract = abstract_state(config, mesh)
    state = checkpoints.restore(abstract, config, store.fingerprint, accept_changes)
    if state is not None:
        step = int(state["step"])
        finished = f"the run is finished: its newest checkpoint is of step {step}, the last of config.phases"
        said = f"going on from the checkpoint of step {step}" if step < config.steps else finished
        return Start(state, step, said)
    if config.resume_from:
        return from_run(config, store, abstract)
    if config.init_from:
        start, untrained = from_encoder(config, store, mesh)
        if jax.process_index() == 0:
            kept.write(checkpoints.folder, untrained)
        return start
    state = init_state(config, mesh, store.token_counts, vectors=word_vectors(config, store))
    said = "starting from scratch" + (", word embeddings by co-occurrence" if config.cooccurrence else "")
    return Start(state, 0, said)


def word_vectors(config: Config, store: Store) -> np.ndarray | None:
    """float32 [V, E] by co-occurrence in the store's text, or None if not wanted; every process must call it."""
    if not config.cooccurrence:
        return None
    found = cooccurrence.token_vectors(store.split("train"), store.vocab_size, config.model.table_width)
    return distributed.array_of_first_process(found)  # another machine's may differ in their last bits


def from_run(config: Config, store: Store, abstract: State) -> Start:
    """The newest state of the run in `config.resume_from`."""
    where, steps = written_in(Path(config.resume_from))
    check = lambda run: check_fits(run, config, abstract)
    found = read_newest(where, steps, lambda _: abstract, check)
    if found is None:
        raise ConfigError(f"config.resume_from is {config.resume_from!r}, which holds no checkpoint")
    step, run, state = found
    if step >= config.steps:
        raise ConfigError(
            f"config.resume_from is {config.resume_from!r}, whose checkpoint is of step {step}, but config.phases end "
            f"at step {config.steps}: give more steps, or take its weights alone: config.init_from"
        )
    said = [f"starting at step {step} of the run in {where}", *changed(run, config, store)]
    return Start(state, step, "; ".join(said))


def check_fits(run: Mapping[str, Any], config: Config, abstract: State) -> None:
    """Raises ConfigError where a checkpoint's state is not laid out as this configuration's."""
    before = config_flags.from_dict(Config, run["config"]).model
    wrong = [
        f"config.model.{name} is {a!r} and was {b!r}" for name, (a, b) in differences(config.model, before).items()
    ]
    wrong += [f"only one of the two has {name}" for name in sorted(set(run["checksums"]) ^ set(flatten(abstract)))]
    if wrong:
        raise ConfigError(
            f"config.resume_from is {config.resume_from!r}, whose state does not fit: {wrong[0]}; keep its model and "
            "optimizer, or take its weights alone: config.init_from"
        )


def changed(run: Mapping[str, Any], config: Config, store: Store) -> list[str]:
    """How this run differs from that of a checkpoint."""
    found = changes.differences(changes.read(run["config"]), config_flags.to_dict(config))
    said = [
        f"config.{name} is {new!r} and was {old!r}"
        for name, (old, new) in found.items()
        if not changes.is_resume_safe(name) and name not in ("resume_from", "init_from")
    ]
    return said + (["another store"] if run["store"] != store.fingerprint else [])


def from_encoder(config: Config, store: Store, mesh: jax.sharding.Mesh) -> tuple[Start, dict[str, Any]]:
    """A state at step 0 with the weights of `config.init_from`, and the parts of it that are not trained."""
    opened = folder.read(Path(config.init_from))
    check_architecture(config, opened.model)
    params, said = opened.params, f"starting from the weights of {config.init_from}"
    pieces = opened.tokenizer.vocabulary if opened.tokenizer is not None else []
    new = check_vocabulary(config, store, pieces) if pieces else 0
    check_embeddings(config, store, max(opened.model.vocab_size, len(pieces) + new))
    if new:
        params = new_pieces.extended(config, opened.model, params, store.tokenizer, len(pieces))
        said += f", with {new:,} new pieces"
    wanted = abstract_state(config, mesh)["params"]
    taken = {name: part for name, part in params.items() if name in wanted}
    state = init_state(config, mesh, store.token_counts, taken)
    untrained = {name: part for name, part in params.items() if name not in wanted}
    for what, parts in (("fresh", wanted.keys() - taken), ("kept as they are", untrained.keys())):
        said += f"; {what}: {', '.join(sorted(parts))}" if parts else ""
    return Start(state, 0, said), untrained


def config_from_flags() -> Config:
    """The configuration that the command line asks for, with the encoder and tokenizer of `init_from` if it has one.

    Raises:
      ConfigError: a wrong field, or one that contradicts the encoder of `init_from`.
    """
    overrides = config_flags.given()
    config = config_flags.read(FLAGS.config)
    source = overrides.get("init_from", config.init_from)
    return adopt(config, source, overrides) if source else config_flags.override(config, overrides)


def adopt(config: Config, source: str, overrides: Mapping[str, str]) -> Config:
    """The configuration with the architecture and the tokenizer of the encoder in `source`, then `overrides`.

    Args:
      overrides: dotted field → text, as `config_flags.override` takes them.

    Raises:
      ConfigError: no encoder there, or an override that contradicts it.
    """
    theirs = folder.read_model(Path(source))
    fields = {f.name: getattr(theirs, f.name) for f in dataclasses.fields(Model) if f.name not in CHOSEN}
    adopted = {"init_from": source, "model.init": "normal"}
    for name, value in fields.items():
        adopted |= as_text(f"model.{name}", value)
    adopted |= checkpoint_tokenizer.adopted(Path(source), config.data, overrides)
    # The options of a variant that is named on the command line are not those of the adopted one.
    adopted = {name: text for name, text in adopted.items() if not any(name.startswith(f"{o}.") for o in overrides)}
    config = config_flags.override(config, adopted | dict(overrides))
    if "model.vocab_size" not in overrides:
        config = dataclasses.replace(config, model=new_pieces.with_room(config.model, config.data.tokenizer))
    check_architecture(config, theirs)
    return config


def as_text(field: str, value: Any) -> dict[str, str]:
    """Overrides that give a field this value."""
    if isinstance(value, Variant):
        return {field: value.name} | {f"{field}.{name}": json.dumps(option) for name, option in value.options.items()}
    return {field: value if isinstance(value, str) else json.dumps(value)}


def differences(ours: Model, theirs: Model) -> dict[str, tuple[Any, Any]]:
    """The fields in which two encoders differ, those of training left aside."""
    return family.differences(ours, theirs, but=CHOSEN)


def check_architecture(config: Config, theirs: Model) -> None:
    """Raises ConfigError unless the model is the encoder of `config.init_from`.

    It may get more embeddings and, where nothing in it is of a fixed length, longer rows.
    """
    larger = dataclasses.replace(theirs, vocab_size=max(theirs.vocab_size, config.model.vocab_size))
    for name, (ours, other) in differences(config.model, bert.lengthened(larger, config.model.max_length)).items():
        changing = ", or change its options in a phase: --config.phases.0.positions.OPTION=VALUE"
        raise ConfigError(
            f"config.model.{name} is {ours!r}, but the encoder in {config.init_from} has {other!r}: "
            f"it must be the same (given by a flag, leave the flag out{changing if name == 'positions' else ''})"
        )


def check_vocabulary(config: Config, store: Store, pieces: list[str]) -> int:
    """The number of pieces that the store's tokenizer has after those of the encoder in `config.init_from`.

    Raises:
      ConfigError: the store's ids stand for other pieces.
    """
    ours = store.tokenizer.vocabulary
    if ours[: len(pieces)] == pieces:
        return len(ours) - len(pieces)
    number = next((i for i, (a, b) in enumerate(zip(ours, pieces, strict=False)) if a != b), None)
    if number is None:
        how = f"it has {len(ours)} pieces instead of {len(pieces)}"
    else:
        how = f"its piece {number} is {ours[number]!r} instead of {pieces[number]!r}"
    raise ConfigError(
        f"the store {store.path} has another tokenizer than the encoder in {config.init_from}: {how}; "
        "leave config.data.store and config.data.tokenizer out, and the store is made with the right one"
    )


def check_embeddings(config: Config, store: Store, size: int) -> None:
    """Raises ConfigError unless the model has `size` embeddings, those of `config.init_from` and of new pieces."""
    if config.model.vocab_size != size:
        raise ConfigError(
            f"config.model.vocab_size is {config.model.vocab_size}, but the encoder in {config.init_from} with the "
            f"tokenizer of the store {store.path} needs {size}: leave it out, or set --config.model.vocab_size={size}"
        )
