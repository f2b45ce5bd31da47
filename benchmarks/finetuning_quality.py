"""The scores that fine-tuning reaches, beside Hugging Face's Trainer on the same examples with the same settings.

    python benchmarks/finetuning_quality.py --encoder=MINILM --folder=runs/finetuning_quality --seeds=5 \\
        --tasks=configs/tasks/polarity.py,configs/tasks/sick_entailment.py,configs/tasks/conll2000.py \\
        --config.polarity.source.train=sentence_polarity.zip …

Tasks of classes, numbers and tags. The Trainer gets the same ids, cut alike, in batches of `batch_size` examples padded
to the longest; learning rate, schedule, decay, dropout and epochs are the task's, and both score their last weights, on
test where there is one, else on dev, by the same code. --config.TASK.FIELD changes a task. Each run is one process,
one after the other, kept in --folder and not done again: stop at any moment. Needs the extras bench and finetune.
"""

import dataclasses
import functools
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.kept import in_own_process, measured
from benchmarks.trainer import collate, items_of, make
from bert_jax import suite
from bert_jax.config import FineTuning, Member, Suite
from configuration import cli
from configuration import flags as config_flags
from configuration.variants import ConfigError

FLAGS = flags.FLAGS
KINDS = ("classification", "regression", "tagging")


def define() -> None:
    flags.DEFINE_list("tasks", ["configs/tasks/polarity.py"], "Files of tasks.")
    flags.DEFINE_string("encoder", None, "A folder that transformers and bert_jax open.", required=True)
    flags.DEFINE_string("folder", None, "What is measured is kept here.", required=True)
    flags.DEFINE_integer("seeds", 5, "Runs of each system.", lower_bound=1)
    flags.DEFINE_list("systems", list(SYSTEMS), "Which systems.")
    flags.register_validator("systems", lambda names: set(names) <= set(SYSTEMS), f"of {', '.join(SYSTEMS)}")


def main() -> dict[str, Any]:
    members = Suite("quality", tuple(Member(str(Path(file).absolute())) for file in FLAGS.tasks))
    tasks = suite.read_tasks(members, Path(), config_flags.given())
    figures: dict[str, Any] = {}
    for name, task in tasks.items():
        if task.task.name not in KINDS:
            raise ConfigError(f"the task {task.name} is of {task.task.name}; give tasks of {', '.join(KINDS)}")
        found: dict[str, list[Any]] = {system: [] for system in FLAGS.systems}
        for seed in range(FLAGS.seeds):
            asked = dataclasses.replace(task, init_from=FLAGS.encoder, seed=seed, evaluations=1)
            for system in FLAGS.systems:
                found[system].append(scored(system, asked, Path(FLAGS.folder) / name))
        figures[name] = found
        print(describe(name, found), flush=True)
    return figures


def scored(system: str, task: FineTuning, folder: Path) -> dict[str, Any]:
    """What one run of a system found."""
    workdir = folder / f"{system}-{task.seed}"
    asked = {"task": config_flags.to_dict(task)}
    return measured(workdir.with_suffix(".json"), asked, in_own_process, SYSTEMS[system], task, workdir)


def ours(task: FineTuning, workdir: Path) -> dict[str, Any]:
    """`bert_jax.finetune`, in float32."""
    from bert_jax import finetune

    (found,) = finetune.finetune(task, workdir, seeds=1)["seeds"]
    split = "test" if any(name.startswith("test_") for name in found) else "dev"
    scores = {name.removeprefix(f"{split}_"): x for name, x in found.items() if name.startswith(f"{split}_")}
    return {"scores": scores, "main": finetune.opened(task, workdir)[0].main.task.main}


def trainer(task: FineTuning, workdir: Path) -> dict[str, Any]:
    """Hugging Face's Trainer, in float32."""
    import transformers

    from bert_jax import finetune

    transformers.logging.set_verbosity_error()
    data = finetune.opened(task, workdir)[0].main
    split = "test" if "test" in data.records else "dev"
    kind = task.task.name
    classes = 1 if kind == "regression" else len(data.labelled.task.options["labels"])
    named = transformers.AutoModelForTokenClassification if kind == "tagging" else None
    of_kind = named or transformers.AutoModelForSequenceClassification
    transformers.set_seed(task.seed)
    model = of_kind.from_pretrained(task.init_from, num_labels=classes)
    items = {name: items_of(data.encoded(name), kind) for name in ("train", split)}
    padded = functools.partial(collate, pad_id=data.tokenizer.pad_id)
    run = make(model, task, items["train"], padded, workdir, num_train_epochs=task.epochs, seed=task.seed)
    run.train()
    logits = run.predict(items[split]).predictions
    encoded = data.encoded(split)
    outputs = READ[kind](logits, encoded)
    return {"scores": data.task.scores(outputs, encoded, data.records[split]), "main": data.task.main}


def probabilities(logits: np.ndarray, encoded: Any) -> dict[str, np.ndarray]:
    """[n, C] as our task reads them."""
    del encoded
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return {"probabilities": powers / powers.sum(-1, keepdims=True)}


def tags(logits: np.ndarray, encoded: Any) -> dict[str, np.ndarray]:
    """[n, longest, C] → the tag of each token, [T]."""
    return {"tag": np.concatenate([x[:n].argmax(-1) for x, n in zip(logits, encoded.lengths, strict=True)])}


READ: dict[str, Callable[[np.ndarray, Any], dict[str, np.ndarray]]] = {
    "classification": probabilities,
    "regression": lambda logits, encoded: {"value": logits},
    "tagging": tags,
}
SYSTEMS = {"ours": ours, "trainer": trainer}


def describe(name: str, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Median, lowest and highest score of each system."""
    lines = []
    for system, runs in found.items():
        scores = [run["scores"][run["main"]] for run in runs]
        seconds = statistics.median(run["seconds"] for run in runs)
        spread = f"{statistics.median(scores):.4f} ({min(scores):.4f} to {max(scores):.4f})"
        lines.append(f"{name:18}{system:10}{runs[0]['main']:12}{spread:30}{len(runs)} seeds, {seconds:.0f} s each")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main, define)
