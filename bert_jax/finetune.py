"""Fine-tunes an encoder on a task, with one seed or several.

    python -m bert_jax.finetune --config=configs/tasks/polarity.py --init_from=runs/demo --workdir=runs/polarity

Run again, it resumes. The work folder then holds scores.json (median, spread, every seed), report.html
and, of each seed, the checkpoint that was best on the dev examples, its predictions and its export for the library
transformers.
"""

import dataclasses
import hashlib
import json
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from bert_jax import metrics
from bert_jax.checkpoints.manager import restore_params
from bert_jax.config import Beside, Checkpoints, Config, FineTuning, Labelled, Phase, use
from bert_jax.evaluators import task_scores
from bert_jax.formats import folder
from bert_jax.modeling import bert
from bert_jax.report import write_report
from bert_jax.runtime import command, distributed, precision, sharding
from bert_jax.runtime.trees import flatten
from bert_jax.tasks import load_task, objective_of, with_labels
from bert_jax.train import train
from bert_jax.training.labelled import LabelledSet
from bert_jax.training.together import LabelledSets
from configuration import cli, foreign
from configuration import flags as config_flags
from configuration.foreign import FormatError
from configuration.variants import ConfigError, Variant
from data_pipeline import checkpoint_tokenizer
from data_pipeline.errors import DataError
from data_pipeline.labelled import Record, digest, open_records
from data_pipeline.tokenizers import Tokenizer

SUMMARY = "scores.json"
ENCODER = "encoder.json"  # the weights of init_from when the work folder was made
PREDICTIONS = "predictions.jsonl"
OF_SPLITS = ("dev_", "test_")  # first parts of the names of scores


def finetune_flags() -> None:
    """--init_from, --seeds"""
    flags.DEFINE_string("init_from", "", "The encoder: any folder that bert_jax.load opens.")
    flags.DEFINE_integer("seeds", 1, "Runs, each with a seed of its own.", lower_bound=1)


def main() -> dict[str, Any]:
    """The command."""
    tuning = config_flags.override(
        config_flags.read(cli.FLAGS.config, ("task", "source"), "FineTuning"), config_flags.given()
    )
    if cli.FLAGS.init_from:
        tuning = dataclasses.replace(tuning, init_from=cli.FLAGS.init_from)
    with distributed.processes():
        figures = finetune(tuning, Path(cli.FLAGS.workdir), cli.FLAGS.seeds)
    print(describe(figures))
    return figures


def finetune(tuning: FineTuning, workdir: Path, seeds: int = 1) -> dict[str, Any]:
    """Runs every seed; writes and returns the results.

    Raises:
      ConfigError, DataError: something that the configuration names is missing or does not fit.
    """
    metrics.need(*metrics.PACKAGES)  # now, not after an epoch
    data, said = opened(tuning, workdir)
    main = data.main
    asked = {"tuning": config_flags.to_dict(tuning), "records": records_hash(data)}
    check_same_encoder(tuning, workdir)
    if (done := finished(workdir, asked, seeds)) is not None:
        return done
    for line in said:
        print(line, file=sys.stderr)
    found = []
    for seed in range(tuning.seed, tuning.seed + seeds):
        own = workdir / f"seed-{seed}" if seeds > 1 else workdir
        found.append(one_seed(dataclasses.replace(tuning, seed=seed), data, own))
    figures: dict[str, Any] = {
        "task": tuning.name,
        "encoder": tuning.init_from,
        "metric": main.task.main,
        "labels": list(main.labelled.task.options.get("labels", ())),
        "examples": {split: len(records) for split, records in main.records.items()},
        "seeds": found,
        "scores": {name: spread([each[name] for each in found]) for name in found[0] if name.startswith(OF_SPLITS)},
        **asked,
    }
    cli.write_json(workdir / SUMMARY, figures)
    write_report(workdir)
    return figures


def finished(workdir: Path, asked: Mapping[str, Any], seeds: int) -> dict[str, Any] | None:
    """The results in the work folder, if this same fine-tuning is done."""
    if not (workdir / SUMMARY).exists():
        return None
    figures = foreign.read_json(workdir / SUMMARY)
    same = all(figures.get(name) == value for name, value in asked.items())
    with foreign.understood(workdir / SUMMARY):
        return figures if same and len(figures["seeds"]) == seeds and describe(figures) else None


def check_same_encoder(tuning: FineTuning, workdir: Path) -> None:
    """Raises ConfigError if the work folder was started from other weights than `init_from` has now."""
    if tuning.untrained:
        return
    digest = hashlib.sha256()
    for array in flatten(folder.read(Path(tuning.init_from)).params).values():
        digest.update(np.ascontiguousarray(array).tobytes())
    path, found = workdir / ENCODER, {"path": tuning.init_from, "sha256": digest.hexdigest()}
    if path.exists() and foreign.read_json(path).get("sha256") != found["sha256"]:
        raise ConfigError(
            f"{workdir} was begun with other weights than {tuning.init_from} has now; give another --workdir, or "
            "delete that folder"
        )
    cli.write_json(path, found)


def records_hash(data: LabelledSet | LabelledSets) -> str:
    """A hash of every record of every split."""
    splits = [named for own in data.sets.values() for named in own.records.items()]
    return digest([split, record.values] for split, records in splits for record in records)


def opened(tuning: FineTuning, workdir: Path) -> tuple[LabelledSet | LabelledSets, list[str]]:
    """The labelled set, or those of several tasks, and what is said of them before training.

    Raises:
      ConfigError, DataError: there is no encoder, tokenizer or labelled example, or they do not fit.
    """
    if not tuning.init_from:
        raise ConfigError("there is no encoder to fine-tune: give --init_from=, any folder that bert_jax.load opens")
    tokenizer = folder.read_tokenizer(Path(tuning.init_from))
    if tokenizer is None:
        raise FormatError(f"{tuning.init_from} has no tokenizer, so text cannot be tokenized")
    if not tuning.beside:
        labelled = Labelled(tuning.source, tuning.task, tuning.dev_share, tuning.packed)
        return opened_set(tuning, labelled, tokenizer, workdir)
    sets: dict[str, LabelledSet] = {}
    said: list[str] = []
    learnt: list[FineTuning | Beside] = [tuning, *tuning.beside]
    for each in learnt:
        labelled = Labelled(each.source, each.task, each.dev_share, tuning.packed, each.name, each.weight)
        try:
            sets[each.name], lines = opened_set(tuning, labelled, tokenizer, workdir)
        except (ConfigError, DataError) as error:
            raise type(error)(f"task {each.name}: {error}") from None
        said += lines
    data = LabelledSets(with_rows(tuning, sets))
    rows = ", ".join(f"{own.labelled.rows * parts_of(tuning)} of {name}" for name, own in data.sets.items())
    return data, [*said, f"rows in a batch: {rows}"]


def opened_set(
    tuning: FineTuning, labelled: Labelled, tokenizer: Tokenizer, workdir: Path
) -> tuple[LabelledSet, list[str]]:
    """The labelled set of one task, whose labels are found, and what is said of it before training."""
    task = load_task(labelled.task)
    records = open_records(labelled.source, dev_share=labelled.dev_share, text=task.text)
    if "train" not in records or (tuning.evaluations and "dev" not in records):
        raise ConfigError(
            f"source is {labelled.source.name}, which has no training or dev examples; name files of both"
        )
    labels = task.find_labels(records["train"])
    labelled = dataclasses.replace(labelled, task=with_labels(labelled.task, labels))
    data = LabelledSet(labelled, tuning.length, tuning.seed, tokenizer, records, workdir)
    counts = ", ".join(f"{len(found):,} {split}" for split, found in records.items())
    said = [f"{labelled.name or tuning.name}: {counts} examples"]
    if labels:
        of_label = Counter(data.encoded("train").per_example.get("labels", np.zeros(0, int)).tolist())
        said.append("labels: " + ", ".join(f"{name} {of_label.get(i, '')}".strip() for i, name in enumerate(labels)))
    encoded, rows = data.encoded("train"), data.rows("train", seed=0)
    share = len(encoded.tokens) / (rows.rows * encoded.stacked * tuning.length)
    stacks = f"stacks of {encoded.candidates} rows" if encoded.candidates else "rows"
    said.append(
        f"{len(encoded.records):,} training examples of {encoded.lengths.mean():.1f} tokens in {rows.rows:,} {stacks} "
        f"of {tuning.length}, {share:.1%} full"
    )
    return data, said


def parts_of(tuning: FineTuning) -> int:
    """Number of parts of a batch: batch shards times microbatches."""
    return sharding.batch_shards(sharding.make_mesh(tuning.mesh)) * tuning.microbatches


def with_rows(tuning: FineTuning, sets: Mapping[str, LabelledSet]) -> dict[str, LabelledSet]:
    """The sets of several tasks, each with its number of rows in a row of the batch, at least one.

    A row of the batch is what one part of the mesh reads for one microbatch: each has rows of every task.
    """
    rows = np.array([own.rows("train", seed=0).rows for own in sets.values()])
    examples = sum(len(own.encoded("train").records) for own in sets.values())
    wanted = tuning.batch_size * rows.sum() / examples / parts_of(tuning)
    shares = rows**tuning.mixing / (rows**tuning.mixing).sum()
    number = [max(1, round(wanted * share)) for share in shares]
    of = lambda own, n: dataclasses.replace(own, labelled=dataclasses.replace(own.labelled, rows=n))
    return {name: of(own, n) for (name, own), n in zip(sets.items(), number, strict=True)}


def batch_and_steps(tuning: FineTuning, data: LabelledSet | LabelledSets) -> tuple[int, int]:
    """Rows of a batch, and batches of all epochs."""
    parts = parts_of(tuning)
    if isinstance(data, LabelledSets):
        rows = sum(own.rows("train", seed=0).rows for own in data.sets.values())
        in_batch = parts * sum(own.labelled.rows for own in data.sets.values())
        return parts, max(1, round(tuning.epochs * rows / in_batch))
    rows = data.rows("train", seed=0).rows
    in_row = len(data.encoded("train").records) / rows
    batch = min(max(1, round(tuning.batch_size / in_row / parts)), max(1, rows // parts)) * parts
    return batch, max(1, round(tuning.epochs * rows / batch))


def objective_for(data: LabelledSet | LabelledSets) -> Variant:
    """What the run learns: the task's objective, or those of several together."""
    if isinstance(data, LabelledSet):
        return objective_of(data.labelled.task)
    learnt = [own.labelled for own in data.sets.values()]
    return use(
        "together",
        tasks=tuple(objective_of(each.task) for each in learnt),
        called=tuple(each.name for each in learnt),
        weights=tuple(each.weight for each in learnt),
    )


def config_of(tuning: FineTuning, data: LabelledSet | LabelledSets) -> Config:
    """The run that a seed makes."""
    model = bert.lengthened(folder.read_model(Path(tuning.init_from)), tuning.length)
    batch, steps = batch_and_steps(tuning, data)
    first, *others = (own.labelled for own in data.sets.values())
    every = max(1, steps // tuning.evaluations) if tuning.evaluations else 0
    return Config(
        name=tuning.name,
        phases=(Phase(steps, tuning.length, batch, tuning.learning_rate, tuning.schedule, tuning.microbatches),),
        labelled=dataclasses.replace(first, beside=tuple(others)),
        transfer=dataclasses.replace(tuning.transfer, fresh_layers=0) if tuning.untrained else tuning.transfer,
        model=dataclasses.replace(
            model,
            dropout=tuning.dropout,
            attention_dropout=tuning.attention_dropout,
            dtype=tuning.dtype,
            init=use("normal"),
            kernel=use("auto"),
            remat="none",
            isolate_documents=True,
        ),
        objective=objective_for(data),
        optimizer=tuning.optimizer,
        clip_norm=tuning.clip_norm,
        seed=tuning.seed,
        init_from="" if tuning.untrained else tuning.init_from,
        mesh=tuning.mesh,
        checkpoints=Checkpoints(every_steps=every or steps, keep=1, keep_best=int(every > 0)),
        evaluators=(use("task_scores"),),
        eval_every=every,
        best_metric=f"dev_{tuning.best_metric or data.main.task.main}" if every else "",
        best_mode="max",
        patience=tuning.patience,
        log_every=max(1, min(10, steps // 50)),
    )


def one_seed(tuning: FineTuning, data: LabelledSet | LabelledSets, workdir: Path) -> dict[str, Any]:
    """Trains with one seed, scores the best weights, writes predictions and export; resumes if interrupted."""
    done = workdir / "evaluation.json"
    config = precision.settled(config_of(tuning, data), workdir)
    checkpoint_tokenizer.keep(data.tokenizer, workdir)
    trained = train(config, workdir, data=data)
    if done.exists():
        figures = foreign.read_json(done)
        if figures.get("trained_steps") == trained["steps"]:
            return figures
    figures = {"seed": tuning.seed, "trained_steps": trained["steps"], "train_seconds": trained["train_seconds"]}
    figures |= score(config, data, workdir)
    for name, own in data.sets.items():
        step = "best" if config.eval_every else ""
        export(workdir, folder_of(data, own, workdir) / "huggingface", step, name)
    cli.write_json(done, figures)
    return figures


def folder_of(data: LabelledSet | LabelledSets, own: LabelledSet, workdir: Path) -> Path:
    """The folder of a task's results: for the main task, or a single one, the work folder itself."""
    return workdir if own is data.main else workdir / own.labelled.name


def score(config: Config, data: LabelledSet | LabelledSets, workdir: Path) -> dict[str, Any]:
    """The scores of the best checkpoint on dev and test, whose predictions are written."""
    _, params, step = restore_params(workdir, "best" if config.eval_every else "")
    runs = {name: task_scores.reader(config, own) for name, own in data.sets.items()}
    figures: dict[str, Any] = {"step": step}
    for split in ("dev", "test"):
        scores = {}
        for name, own in data.sets.items():
            if split not in own.records:
                continue
            outputs = task_scores.read(runs[name], own, split, params)
            encoded, records = own.encoded(split), own.records[split]
            scores[name] = own.task.scores(outputs, encoded, records)
            answers = own.task.answers(outputs, encoded, records)
            write_predictions(folder_of(data, own, workdir), split, records, answers)
        figures |= task_scores.named(data, split, scores) if scores else {}
    return figures


def write_predictions(
    workdir: Path, split: str, records: Sequence[Record], answers: Sequence[Mapping[str, Any]]
) -> None:
    """A line for each record: what it says, and what was predicted."""
    lines = [
        json.dumps({"where": r.where, **r.values, "predicted": a}, ensure_ascii=False, default=str)
        for r, a in zip(records, answers, strict=True)
    ]
    cli.write_text(workdir / f"{split}_{PREDICTIONS}", "\n".join(lines) + "\n")


def read_predictions(workdir: Path, split: str) -> tuple[list[Record], list[dict[str, Any]]]:
    """The records and the answers that `write_predictions` wrote."""
    path = workdir / f"{split}_{PREDICTIONS}"
    with foreign.understood(path):
        read = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        return [Record(line, line["where"]) for line in read], [line["predicted"] for line in read]


def export(workdir: Path, output: Path, step: str, task: str = "") -> None:
    """Writes a checkpoint's weights for transformers, or sentence-transformers; logs the reason if no class fits.

    Args:
      task: of several tasks, the one whose head is written with the encoder.
    """
    from bert_jax import convert

    try:
        convert.export(workdir, output, part=task, step=step)
    except FormatError as error:
        print(f"not exported: {error}", file=sys.stderr)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest of the seeds."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def describe(figures: Mapping[str, Any]) -> str:
    """The scores as a small table."""
    main = figures["metric"]
    own = figures["scores"]
    names = sorted(own, key=lambda name: (not name.endswith(f"_{main}"), name))
    lines = [f"{figures['task']}: {len(figures['seeds'])} seeds{'':24}median      lowest     highest"]
    lines += [
        f"  {name:34}{own[name]['median']:12.4f}{own[name]['min']:12.4f}{own[name]['max']:12.4f}" for name in names
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    flags_of_run = (config_flags.task_flag, cli.workdir_flag, finetune_flags, distributed.distributed_flags)
    cli.run(command.computing(main), *flags_of_run)
