"""Examples a second in fine-tuning and in prediction, beside Hugging Face's Trainer.

    python benchmarks/finetuning_speed.py --folder=runs/finetuning_speed --json=finetuning_speed.json \\
        --config.polarity.source.train=sentence_polarity.zip \\
        --config.movie_reviews.source.train=movie_reviews.zip/movie_reviews

Two tasks of classes, one of short sentences and one of long documents; any others by --tasks. Everyone gets the same
examples as the same ids, cut alike, and the same encoder: a folder given by --encoder, or a random one of MiniLM's
size (6 layers of 384). "padded" is the Trainer as run_glue.py uses it, each example padded to the task's length;
"grouped" pads to the longest of a batch of examples that are grouped by length (sorted, for prediction). bf16 is by
autocast. A turn is one pass over --examples examples, with all that its loop does but reading and cutting text; ours
fills its last batch from the next pass. The systems take turns, each in a process of its own; a figure is the median
over the rounds. What is measured is in --folder, and is not measured again. Needs the extras bench and finetune.
"""

import dataclasses
import functools
import statistics
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts, training
from benchmarks.kept import measured
from benchmarks.trainer import collate, items_of, make
from bert_jax import suite
from bert_jax.config import FineTuning, Member, Model, Suite
from configuration import cli
from configuration import flags as config_flags
from configuration.variants import ConfigError

FLAGS = flags.FLAGS
PEERS: dict[str, dict[str, Any]] = {
    "padded": {"padded": True},
    "grouped": {},
    "grouped bf16": {"bf16": True},
    "grouped compiled": {"compiled": True},
    "grouped bf16 compiled": {"bf16": True, "compiled": True},
}
OURS = {"ours": "float32", "ours bf16": "bfloat16"}
SYSTEMS = [*OURS, *PEERS]
WHAT = ("training", "prediction")
MINILM = Model(vocab_size=30522, layers=6, width=384, heads=12, mlp_width=1536, max_length=512)


def define() -> None:
    charts.define()
    flags.DEFINE_list("tasks", ["configs/tasks/polarity.py", "configs/tasks/movie_reviews.py"], "Files of tasks.")
    flags.DEFINE_string("folder", None, "What is measured is kept here.", required=True)
    flags.DEFINE_string("encoder", "", "A folder that transformers opens; if not given, a random one of MiniLM's size.")
    flags.DEFINE_list("systems", SYSTEMS, "Which systems.")
    said = f"each must be one of {', '.join(SYSTEMS)}"
    flags.register_validator("systems", lambda values: set(values) <= set(SYSTEMS), said)
    flags.DEFINE_integer("examples", 512, "In a turn.", lower_bound=1)
    flags.DEFINE_integer("rounds", 5, "How often each takes its turn.", lower_bound=1)
    flags.DEFINE_float("patience", 1800, "Seconds in which a system must have compiled and done two turns.")


def main() -> dict[str, Any]:
    folder = Path(FLAGS.folder)
    members = Suite("speed", tuple(Member(str(Path(file).absolute())) for file in FLAGS.tasks))
    tasks = suite.read_tasks(members, Path(), config_flags.given())
    for task in tasks.values():
        if task.task.name != "classification":
            raise ConfigError(f"the task {task.name} is of {task.task.name}; give tasks of classification")
    encoder = FLAGS.encoder or str(random_encoder(folder / "encoder", tasks.values()))
    figures = {}
    for name, task in tasks.items():
        given = dataclasses.replace(task, init_from=encoder)
        asked = asked_of(given)
        figures[name] = {what: measured(folder / f"{name}.{what}.json", asked, timed, given, what) for what in WHAT}
        print(describe(name, figures[name]), flush=True)
    rates = {
        f"{name}, {what}": {system: of["examples_per_second"] for system, of in found[what]["systems"].items()}
        for name, found in figures.items()
        for what in WHAT
    }
    charts.bars(rates, "examples a second")
    return figures


def asked_of(task: FineTuning) -> dict[str, Any]:
    """All that the figures depend on."""
    return {
        "task": config_flags.to_dict(task),
        "examples": FLAGS.examples,
        "rounds": FLAGS.rounds,
        "asked": FLAGS.systems,
    }


def timed(task: FineTuning, what: str) -> dict[str, Any]:
    """The figures of one task and kind of work."""
    makers = {system: functools.partial(maker(system), task, FLAGS.examples, what) for system in FLAGS.systems}
    turns, failed = training.take_turns(makers, FLAGS.rounds, patience=FLAGS.patience)
    data = small(task, FLAGS.examples)
    records = len(data.records["train"])
    systems = {
        system: {"examples_per_second": records / statistics.median(took), "seconds_of_turns": took}
        for system, took in turns.items()
    }
    tokens = {"mean_tokens": float(data.encoded("train").lengths.mean()), "length": task.length}
    return tokens | {"systems": systems, "failed": failed}


def maker(system: str) -> Any:
    """(task, examples, what) → step, of a system."""
    if system in OURS:
        return functools.partial(ours, OURS[system])
    return functools.partial(trainer, **PEERS[system])


def small(task: FineTuning, examples: int) -> Any:
    """The labelled set with as many of its training records, drawn at random."""
    from bert_jax import finetune

    data, _ = finetune.opened(task, Path())
    records = data.records["train"]
    taken = np.random.default_rng(0).permutation(len(records))[:examples]
    return dataclasses.replace(data, records={"train": [records[i] for i in sorted(taken.tolist())]})


def ours(dtype: str, task: FineTuning, examples: int, what: str) -> training.Step:
    """A pass of ours: training steps as a run does them, or predictions as `predict` does them."""
    from bert_jax import finetune
    from bert_jax.evaluators import task_scores
    from bert_jax.objectives import Vocabulary
    from bert_jax.runtime import sharding
    from bert_jax.training.state import init_state
    from bert_jax.training.step import jit_train_step
    from configuration.variants import load

    data = small(dataclasses.replace(task, dtype=dtype), examples)
    config = finetune.config_of(dataclasses.replace(task, dtype=dtype), data)
    mesh = sharding.make_mesh(config.mesh)
    state = init_state(config, mesh)
    if what == "prediction":
        run, params = task_scores.reader(config, data), state["params"]

        def predict() -> float:
            return float(len(task_scores.read(run, data, "train", params)))

        return predict

    tokenizer = data.tokenizer
    vocabulary = Vocabulary(
        tokenizer.vocab_size, tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id
    )
    objective = load("bert_jax.objectives", config.objective)(config.model, vocabulary)
    update = jit_train_step(config, config.phases[0], objective, mesh)
    rows, size, kept = data.rows("train", seed=0), config.phases[0].batch_size, [state]

    def train() -> float:
        for first in range(0, rows.rows, size):
            kept[0], metrics = update(kept[0], sharding.put_batch(rows.batch(first, size), mesh), ())
            loss = float(metrics["loss"])  # steps that wait in line would each have their own temporary arrays
        return loss

    return train


def trainer(
    task: FineTuning,
    examples: int,
    what: str,
    *,
    padded: bool = False,
    bf16: bool = False,
    compiled: bool = False,
) -> training.Step:
    """A pass of Hugging Face's Trainer over the same ids."""
    import tempfile

    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    data = small(task, examples)
    labels = data.labelled.task.options["labels"]
    items = items_of(data.encoded("train"), "classification")
    if what == "prediction" and not padded:
        items.sort(key=lambda item: -len(item["input_ids"]))

    padded_batch = functools.partial(collate, pad_id=data.tokenizer.pad_id, length=task.length if padded else 0)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(task.init_from, num_labels=len(labels))
    sampling = "random" if padded else "group_by_length"
    others = {"train_sampling_strategy": sampling, "bf16": bf16, "torch_compile": compiled, "num_train_epochs": 1}
    run = make(model, task, items, padded_batch, Path(tempfile.mkdtemp()), **others)

    def turn() -> float:
        if what == "training":
            return float(run.train().training_loss)
        return float(len(run.predict(items).predictions))

    return turn


def random_encoder(folder: Path, tasks: Any) -> Path:
    """An encoder of MiniLM's size with fresh weights, whose vocabulary is of the tasks' words."""
    import re

    import jax

    from bert_jax.formats import huggingface
    from bert_jax.modeling import bert, heads
    from bert_jax.tasks import load_task
    from data_pipeline.labelled import open_records

    if (folder / "vocab.txt").exists():
        return folder
    words: Counter[str] = Counter()
    for task in tasks:
        columns = load_task(task.task).text
        for record in open_records(task.source, text=columns)["train"]:
            words.update(re.findall(r"\w+|[^\w\s]", " ".join(record.values[name] for name in columns).lower()))
    characters = sorted({character for word in words for character in word})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{each}" for each in characters)]
    pieces += [word for word, _ in words.most_common() if len(word) > 1]
    pieces = pieces[: MINILM.vocab_size]
    pieces += [f"[unused{i}]" for i in range(MINILM.vocab_size - len(pieces))]
    folder.mkdir(parents=True, exist_ok=True)
    params = jax.device_get(bert.init(MINILM, jax.random.key(0), heads.parts(MINILM, "pooler")))
    huggingface.write(MINILM, params, folder)
    cli.write_text(folder / "vocab.txt", "\n".join(pieces) + "\n")
    return folder


def describe(name: str, figures: Mapping[str, Any]) -> str:
    """The figures of a task as a table."""
    lines = [f"{name}, {figures['training']['mean_tokens']:.1f} tokens an example{'':14}examples a second"]
    for what, found in figures.items():
        systems = found["systems"]
        for system, of in systems.items():
            rate = of["examples_per_second"]
            reference = systems.get("ours")
            beside = f"   ours is {reference['examples_per_second'] / rate:.2f} times" if reference else ""
            lines.append(f"  {what:12}{system:34}{rate:10.1f}{beside}")
        lines += [f"  {what:12}{system:34}{reason}" for system, reason in found["failed"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main, define)
