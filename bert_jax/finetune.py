"""Fine-tunes an encoder on a task, with one seed or several.

    python -m bert_jax.finetune --config=configs/tasks/polarity.py --init_from=runs/demo --workdir=runs/polarity

Run again, it goes on where it was. The work folder then holds scores.json (median, spread, every seed), report.html
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

from bert_jax.checkpoints.manager import restore_params
from bert_jax.config import Checkpoints, Config, FineTuning, Labelled, Phase, use
from bert_jax.evaluators import task_scores
from bert_jax.formats import folder
from bert_jax.report import write_report
from bert_jax.runtime import compilation_cache, distributed, sharding
from bert_jax.runtime.trees import flatten
from bert_jax.tasks import load_task, objective_of, with_labels
from bert_jax.train import train
from bert_jax.training.labelled import LabelledSet
from configuration import cli
from configuration import flags as config_flags
from configuration.foreign import FormatError
from configuration.variants import ConfigError
from data_pipeline import checkpoint_tokenizer
from data_pipeline.labelled import Record, open_records

SUMMARY = "scores.json"
ENCODER = "encoder.json"  # what init_from held when the work folder was begun
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
    """Runs every seed, and writes and returns what they found.

    Raises:
      ConfigError, DataError: what the configuration names is not there or does not fit.
    """
    data, said = opened(tuning, workdir)
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
        "metric": data.task.main,
        "labels": list(data.labelled.task.options.get("labels", ())),
        "examples": {split: len(records) for split, records in data.records.items()},
        "seeds": found,
        "scores": {name: spread([each[name] for each in found]) for name in found[0] if name.startswith(OF_SPLITS)},
        **asked,
    }
    cli.write_json(workdir / SUMMARY, figures)
    write_report(workdir)
    return figures


def finished(workdir: Path, asked: Mapping[str, Any], seeds: int) -> dict[str, Any] | None:
    """What the work folder says of this very fine-tuning, if it is done."""
    if not (workdir / SUMMARY).exists():
        return None
    figures = json.loads((workdir / SUMMARY).read_text())
    same = all(figures.get(name) == value for name, value in asked.items())
    return figures if same and len(figures["seeds"]) == seeds else None


def check_same_encoder(tuning: FineTuning, workdir: Path) -> None:
    """Raises ConfigError if the work folder was begun with other weights than `init_from` has now."""
    if tuning.untrained:
        return
    digest = hashlib.sha256()
    for array in flatten(folder.read(Path(tuning.init_from)).params).values():
        digest.update(np.ascontiguousarray(array).tobytes())
    path, found = workdir / ENCODER, {"path": tuning.init_from, "sha256": digest.hexdigest()}
    if path.exists() and json.loads(path.read_text())["sha256"] != found["sha256"]:
        raise ConfigError(
            f"{workdir} was begun with other weights than {tuning.init_from} has now; give another --workdir, or "
            "delete that folder"
        )
    cli.write_json(path, found)


def records_hash(data: LabelledSet) -> str:
    """A hash of every record of every split."""
    digest = hashlib.sha256()
    for split, records in data.records.items():
        for record in records:
            digest.update(json.dumps([split, record.values], default=str, sort_keys=True).encode())
    return digest.hexdigest()


def opened(tuning: FineTuning, workdir: Path) -> tuple[LabelledSet, list[str]]:
    """The labelled set, and what is said of it before training.

    Raises:
      ConfigError, DataError: there is no encoder, tokenizer or labelled example, or they do not fit.
    """
    if not tuning.init_from:
        raise ConfigError("there is no encoder to fine-tune: give --init_from=, any folder that bert_jax.load opens")
    tokenizer = folder.read_tokenizer(Path(tuning.init_from))
    if tokenizer is None:
        raise FormatError(f"{tuning.init_from} has no tokenizer, without which no text can be read")
    task = load_task(tuning.task)
    records = open_records(tuning.source, dev_share=tuning.dev_share, text=task.text)
    if "train" not in records or (tuning.evaluations and "dev" not in records):
        raise ConfigError(f"source is {tuning.source.name}, which has no training or dev examples; name files of both")
    labels = task.find_labels(records["train"])
    labelled = Labelled(tuning.source, with_labels(tuning.task, labels), tuning.dev_share, tuning.packed)
    data = LabelledSet(labelled, tuning.length, tuning.seed, tokenizer, records, workdir)
    counts = ", ".join(f"{len(found):,} {split}" for split, found in records.items())
    said = [f"{tuning.name}: {counts} examples"]
    if labels:
        of_label = Counter(data.encoded("train").per_example.get("labels", np.zeros(0, int)).tolist())
        said.append("labels: " + ", ".join(f"{name} {of_label.get(i, '')}".strip() for i, name in enumerate(labels)))
    encoded, rows = data.encoded("train"), data.rows("train", seed=0)
    share = len(encoded.tokens) / (rows.rows * tuning.length)
    said.append(
        f"{len(encoded.records):,} training examples of {encoded.lengths.mean():.1f} tokens in {rows.rows:,} rows of "
        f"{tuning.length}, {share:.1%} full"
    )
    return data, said


def config_of(tuning: FineTuning, data: LabelledSet) -> Config:
    """The run that a seed makes."""
    model = folder.read_model(Path(tuning.init_from))
    rows, mesh = data.rows("train", seed=0), sharding.make_mesh(tuning.mesh)
    in_row = len(data.encoded("train").records) / rows.rows
    equal = sharding.batch_shards(mesh) * tuning.microbatches  # parts of a batch, with as many rows each
    batch = min(max(1, round(tuning.batch_size / in_row / equal)), max(1, rows.rows // equal)) * equal
    steps = max(1, round(tuning.epochs * rows.rows / batch))
    every = max(1, steps // tuning.evaluations) if tuning.evaluations else 0
    return Config(
        name=tuning.name,
        phases=(Phase(steps, tuning.length, batch, tuning.learning_rate, tuning.schedule, tuning.microbatches),),
        labelled=data.labelled,
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
        objective=objective_of(data.labelled.task),
        optimizer=tuning.optimizer,
        clip_norm=tuning.clip_norm,
        seed=tuning.seed,
        init_from="" if tuning.untrained else tuning.init_from,
        mesh=tuning.mesh,
        checkpoints=Checkpoints(every_steps=every or steps, keep=1, keep_best=int(every > 0)),
        evaluators=(use("task_scores"),),
        eval_every=every,
        best_metric=f"dev_{tuning.best_metric or data.task.main}" if every else "",
        best_mode="max",
        patience=tuning.patience,
        log_every=max(1, min(10, steps // 50)),
    )


def one_seed(tuning: FineTuning, data: LabelledSet, workdir: Path) -> dict[str, Any]:
    """Trains with one seed, scores what was best, writes predictions and export; goes on where it was."""
    done = workdir / "evaluation.json"
    config = config_of(tuning, data)
    checkpoint_tokenizer.keep(data.tokenizer, workdir)
    trained = train(config, workdir, data=data)
    if done.exists():
        figures = json.loads(done.read_text())
        if figures.get("trained_steps") == trained["steps"]:
            return figures
    figures = {"seed": tuning.seed, "trained_steps": trained["steps"], "train_seconds": trained["train_seconds"]}
    figures |= score(config, data, workdir)
    export(workdir, workdir / "huggingface", "best" if config.eval_every else "")
    cli.write_json(done, figures)
    return figures


def score(config: Config, data: LabelledSet, workdir: Path) -> dict[str, Any]:
    """The scores of the best checkpoint on dev and test, whose predictions are written."""
    _, params, step = restore_params(workdir, "best" if config.eval_every else "")
    run = task_scores.reader(config, data)
    figures: dict[str, Any] = {"step": step}
    for split in [split for split in ("dev", "test") if split in data.records]:
        outputs = task_scores.read(run, data, split, params)
        encoded, records = data.encoded(split), data.records[split]
        figures |= {f"{split}_{name}": x for name, x in data.task.scores(outputs, encoded, records).items()}
        write_predictions(workdir, split, records, data.task.answers(outputs, encoded, records))
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
    lines = (workdir / f"{split}_{PREDICTIONS}").read_text(encoding="utf-8").split("\n")
    read = [json.loads(line) for line in lines if line]
    return [Record(line, line["where"]) for line in read], [line["predicted"] for line in read]


def export(workdir: Path, output: Path, step: str) -> None:
    """Writes a checkpoint's weights for transformers, or sentence-transformers; says why where they lack a class."""
    from bert_jax import convert

    try:
        convert.export(workdir, output, step=step)
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
    cli.run(compilation_cache.cached(main), *flags_of_run)
