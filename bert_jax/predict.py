"""A fine-tuned model's answers.

    python -m bert_jax.predict --workdir=runs/polarity --text="A moving film."
    python -m bert_jax.predict --workdir=runs/polarity --input=reviews.jsonl --output=answers.jsonl
    python -m bert_jax.predict --workdir=runs/sick --task=relatedness --text="A man runs." --text="Someone moves."

The input is JSON-lines with the columns that the task reads or, for a task of one text, one text a line; empty
lines are passed over. Each line of the output is the record with the model's answer as "predicted".
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from bert_jax.checkpoints.manager import read_config, restore_params
from bert_jax.config import Config
from bert_jax.evaluators import task_scores
from bert_jax.formats import folder
from bert_jax.runtime import command
from bert_jax.tasks import load_task
from bert_jax.training.labelled import LabelledSet
from configuration import cli, foreign
from configuration.foreign import FormatError
from configuration.variants import ConfigError, nearest, use
from data_pipeline.errors import DataError
from data_pipeline.labelled import Record, json_lines

LARGEST_INPUT = 1 << 32  # bytes
GIVEN = "given"  # the split that is predicted


def predict_flags() -> None:
    """--text, --input, --output, --task"""
    flags.DEFINE_multi_string("text", [], "A text; several make a list, and a task with two texts takes two.")
    flags.DEFINE_string("input", "", "JSON-lines with the task's columns, or one text a line.")
    flags.DEFINE_string("output", "", "JSON-lines with the answers; if not given, they are printed.")
    flags.DEFINE_string("task", "", "Of several tasks learnt at once, the one that answers; else the main one.")


def main() -> dict[str, Any]:
    """The command."""
    if bool(cli.FLAGS.text) == bool(cli.FLAGS.input):
        raise ConfigError("give either --text, or --input with a file")
    predictor = load(Path(cli.FLAGS.workdir), cli.FLAGS.task)
    columns = predictor.columns
    records = from_texts(cli.FLAGS.text, columns) if cli.FLAGS.text else from_file(Path(cli.FLAGS.input), columns)
    answers = predictor(records)
    lines = [
        json.dumps({**r.values, "predicted": a}, ensure_ascii=False) for r, a in zip(records, answers, strict=True)
    ]
    if cli.FLAGS.output:
        cli.write_text(Path(cli.FLAGS.output), "\n".join(lines) + "\n")
        print(f"{len(lines):,} answers are in {cli.FLAGS.output}")
    else:
        print("\n".join(lines))
    return {"answers": len(lines)}


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A fine-tuned model."""

    config: Config
    params: Any
    data: LabelledSet  # without records

    @property
    def columns(self) -> tuple[str, ...]:
        """What a record must have."""
        return self.data.task.text

    def __call__(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """The answer to each record."""
        data = dataclasses.replace(self.data, records={GIVEN: records})
        data._kept[GIVEN] = data.task.encoder_of(GIVEN)(records, data.tokenizer, data.length, False)
        outputs = task_scores.read(task_scores.reader(self.config, data), data, GIVEN, self.params)
        return data.task.answers(outputs, data.encoded(GIVEN), records)


def load(workdir: Path, task: str = "") -> Predictor:
    """The best checkpoint of a fine-tuning run, or of the seed that was best on dev.

    Args:
      task: the name of one of several tasks that were learnt at once; the main one, if not given.

    Raises:
      ConfigError: it is no work folder of such a run, or has no such task.
    """
    if (workdir / "scores.json").exists() and not (workdir / "checkpoints").is_dir():
        scores = foreign.read_json(workdir / "scores.json")
        with foreign.understood(workdir / "scores.json"):
            best = max(scores["seeds"], key=lambda seed: seed.get(f"dev_{scores['metric']}", 0.0))
            workdir = workdir / f"seed-{int(best['seed'])}"
    if not (workdir / "checkpoints").is_dir():
        raise FormatError(f"{workdir} is no work folder; give one that `bert_jax.finetune` made")
    best = "best" if read_config(workdir).eval_every else ""
    config, params, _ = restore_params(workdir, best, checkpoints="")
    if config.labelled is None:
        raise FormatError(f"{workdir} is the work folder of pretraining; give one that `bert_jax.finetune` made")
    tokenizer = folder.read_tokenizer(workdir)
    assert tokenizer is not None
    learnt = {each.name: each for each in (config.labelled, *config.labelled.beside)}
    if task and task not in learnt:
        known = [name for name in learnt if name]
        raise ConfigError(f"--task={task}: {workdir} has learnt no such task{nearest(task, known)}")
    labelled = learnt[task] if task else config.labelled
    load_task(labelled.task)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, kernel=use("auto")))
    data = LabelledSet(labelled, config.phases[-1].length, config.seed, tokenizer, {}, workdir)
    return Predictor(config, params, data)


def from_texts(texts: Sequence[str], columns: Sequence[str]) -> list[Record]:
    """Records of texts from the command line.

    Raises:
      ConfigError: not as many as the task's columns, or a multiple.
    """
    if len(texts) % len(columns):
        raise ConfigError(f"--text was given {len(texts)} times; the task reads {len(columns)}: {', '.join(columns)}")
    size = len(columns)
    groups = [texts[i : i + size] for i in range(0, len(texts), size)]
    return [Record(dict(zip(columns, group, strict=True)), f"--text {i}") for i, group in enumerate(groups, 1)]


def from_file(path: Path, columns: Sequence[str]) -> list[Record]:
    """Records of a file.

    Raises:
      DataError: a line that is neither an object with the task's columns nor, for one column, a text; an empty file.
    """
    found = []
    for number, line in enumerate(foreign.read_text(path, most=LARGEST_INPUT).split("\n"), 1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        if path.suffix in (".jsonl", ".json"):
            values = json_lines.read_object(where, line)
        elif len(columns) == 1:
            values = {columns[0]: line.removesuffix("\r")}
        else:
            raise DataError(f"{path}: the task reads {', '.join(columns)}: give JSON-lines, a file named .jsonl")
        found.append(Record(values, where))
    if not found:
        raise DataError(f"{path} has no line")
    return found


if __name__ == "__main__":
    cli.run(command.computing(main), cli.workdir_flag, predict_flags)
