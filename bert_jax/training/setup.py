"""What a run needs before its first step: the mesh, the store, the objective, the batches; all of it checked."""

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bert_jax.checkpoints import changes
from bert_jax.config import Config, Phase
from bert_jax.modeling import bert
from bert_jax.modeling.choice import explain, request_for
from bert_jax.objectives import Objective, Vocabulary
from bert_jax.reporting import loggers
from bert_jax.runtime import distributed, sharding
from bert_jax.training import labelled, state_sharding, transfer
from bert_jax.training.state import abstract_state, batch_sizes_of, statistics_of
from bert_jax.training.together import LabelledSets
from configuration import flags as config_flags
from configuration.variants import ConfigError, load
from data_pipeline import annotations
from data_pipeline.batches import pipeline
from data_pipeline.store import Store
from data_pipeline.tokenizers import trained_size

INPUT_WAIT, TO_DEVICE = "wait for input", "copy to the device"  # what a trace calls them


def check(config: Config) -> jax.sharding.Mesh:
    """The run's mesh, after tracing all that the configuration names on abstract shapes.

    Raises:
      ConfigError: something in it cannot run on these devices.
    """
    mesh = sharding.make_mesh(config.mesh)
    state_sharding.check(config, mesh)
    transfer.check(config)
    abstract_state(config, mesh)
    if config.statistics_every:
        statistics_of(config)
    check_positions(config)
    for objective, model in dict.fromkeys(zip(config.objectives, config.models, strict=True)):
        load("bert_jax.objectives", objective)(model, Vocabulary(model.vocab_size, 0, 0, 0, 0))
    loggers.check(config.loggers)
    for length in {config.evaluation_length, *(phase.length for phase in config.phases)}:
        load("data_pipeline.rows", config.data.rows)(length, config.model.isolate_documents)
    for package, named in (("training.hooks", config.hooks), ("evaluators", config.evaluators)):
        for variant in named:
            load(f"bert_jax.{package}", variant)
    kernels(config, mesh)
    return mesh


def check_positions(config: Config) -> None:
    """Raises ConfigError unless the positions of every phase leave the encoder its arrays."""
    for number, model in enumerate(config.models):
        if model == config.model:  # tracing takes time
            continue
        where = f"config.phases.{number}.positions"
        try:
            same = bert.abstract_params(model) == bert.abstract_params(config.model)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        if not same:
            options = config.phases[number].positions.options
            changed = ", ".join(f"{name}={value!r}" for name, value in options.items())
            raise ConfigError(
                f"{where} has {changed}, which gives the encoder other arrays than config.model.positions: set it "
                "there, for every phase"
            )


def kernels(config: Config, mesh: jax.sharding.Mesh) -> list[str]:
    """Which attention kernel serves and why: a line for global layers and one for local ones, where there are any.

    Where they differ between lengths of rows, each length has its own.

    Raises:
      ConfigError: the named kernel cannot.
    """
    asked = sharding.on_mesh(mesh, lambda model, length, local: request_for(model, length, training=True, local=local))
    phases = list(zip(config.phases, config.models, strict=True))
    said: list[str] = []
    for local in sorted(set(config.model.pattern)):
        lines = {phase.length: explain(model, asked(model, phase.length, local)) for phase, model in phases}
        alike = len(set(lines.values())) == 1
        said += list(lines.values())[:1] if alike else [f"rows of {n} tokens: {line}" for n, line in lines.items()]
    return said


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


def check_trained_vocabulary(config: Config) -> None:
    """Raises ConfigError if the tokenizer to be trained will not have the model's number of pieces."""
    size = None if config.init_from else trained_size(config.data.tokenizer)
    if size is not None and size != config.model.vocab_size:
        raise ConfigError(
            f"config.model.vocab_size is {config.model.vocab_size}, but config.data.tokenizer will have {size} pieces: "
            f"set --config.model.vocab_size={size}, or --config.data.tokenizer.vocab_size"
        )


def check_processes(config: Config, store: Store) -> None:
    """Raises ConfigError if the processes of this run have another configuration, store or code than process 0."""
    if jax.process_count() == 1:
        return
    own = changes.flatten(config_flags.to_dict(config))
    facts = {f"config.{name}": repr(value) for name, value in own.items() if name not in changes.OF_A_MACHINE}
    sources = hashlib.sha256()
    for package in ("bert_jax", "configuration", "data_pipeline"):
        for file in sorted((Path(__file__).parents[2] / package).rglob("*.py")):
            sources.update(file.read_bytes())
    versions = f"{jax.__version__}, NumPy {np.__version__}"
    distributed.check_same(facts | {"the store": store.fingerprint, "the code": sources.hexdigest(), "JAX": versions})


def make_objective(config: Config, store: Store, phase: int = -1) -> Objective:
    """A phase's objective on the store's vocabulary; that of the last phase is the one that a run is evaluated by."""
    return load("bert_jax.objectives", config.objectives[phase])(config.models[phase], vocabulary_of(store))


def make_objectives(config: Config, store: Store) -> list[Objective]:
    """The objective of each phase on its encoder; phases of the same ones share it, and its constants."""
    pairs = list(zip(config.objectives, config.models, strict=True))
    firsts = [pairs.index(pair) for pair in pairs]
    made = {first: make_objective(config, store, first) for first in sorted(set(firsts))}
    return [made[first] for first in firsts]


def vocabulary_of(store: Store) -> Vocabulary:
    """Sizes and special ids of the store's tokenizer."""
    t = store.tokenizer
    return Vocabulary(size=store.vocab_size, pad=t.pad_id, cls=t.cls_id, sep=t.sep_id, mask=t.mask_id)


def check_fields(config: Config, objective: Objective, examples: pipeline.Examples, phase: int = -1) -> None:
    """Raises ConfigError if a batch of the phase lacks a field that its objective needs."""
    if objective.needs and (missing := sorted(set(objective.needs) - set(examples.fields))):
        rows = f"config.data.rows={config.data.rows.name} does not give them: name another row format"
        where = f"config.phases.{phase}.objective" if config.phases[phase].objective.name else "config.objective"
        named = f"{where} is {config.objectives[phase].name}"
        remedies = [each for each in map(annotations.remedy, missing) if each] or [rows]
        raise ConfigError(f"{named}, which needs the fields {', '.join(missing)} of a batch; " + "; ".join(remedies))


def open_data(config: Config, workdir: Path) -> Any:
    """The data of a run: the store, or labelled sets, which offer the same interface.

    Raises:
      ConfigError: as `open_store` and `labelled.open_set`.
    """
    if config.labelled is None:
        return open_store(config, workdir)
    if not config.labelled.beside:
        return labelled.open_set(config, config.labelled, workdir)
    learnt = (config.labelled, *config.labelled.beside)
    return LabelledSets({each.name: labelled.open_set(config, each, workdir) for each in learnt})


def open_examples(
    config: Config, store: Store | labelled.LabelledSet | LabelledSets, phase: int, needs: Collection[str] = ()
) -> pipeline.Examples:
    """The endless stream of training rows of one phase, with the annotations that the objective needs."""
    if isinstance(store, labelled.LabelledSet | LabelledSets):
        return store.rows("train", rows_seed(config, phase))
    return pipeline.PackedText(
        pipeline.mixed(store.split("train"), config.data.weights),
        config.data.rows,
        config.phases[phase].length,
        pipeline.specials_of(store.tokenizer),
        seed=rows_seed(config, phase),
        isolate=config.model.isolate_documents,
        weights=config.data.weights,
        annotations=[name for name in needs if name in store.annotations],
    )


def rows_seed(config: Config, phase: int) -> int:
    """The seed of a phase's rows, which no other phase has, whatever the seed of its run."""
    return config.seed + (phase << 32)  # config.seed is below 2^32


def data_facts(config: Config, store: Store) -> dict[str, Any]:
    """What the report says of the text: documents, tokens, sources, overlap, padding and row lengths."""
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
        "overlap": store.manifest.made.get("overlap", {}),
    }


def histogram(counts: np.ndarray, bins: int) -> dict[str, list[int]]:
    """counts [L+1] by length → edges [bins+1] and counts [bins] of lengths from 1 to L."""
    edges = np.unique(np.linspace(1, len(counts), bins + 1).round().astype(int))
    return {"edges": edges.tolist(), "counts": np.add.reduceat(counts, edges[:-1]).tolist()}


def device_batches(
    examples: Any, phase: Phase, done: int, mesh: jax.sharding.Mesh, left_out: int = 0
) -> Iterator[dict[str, jax.Array]]:
    """The phase's batches from number `done`, on the mesh; the next one is copied while this one is used.

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
