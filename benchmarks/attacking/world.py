"""What is attacked: a small run of every command, in a folder, with paths relative to it."""

import dataclasses
import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.attacking.processes import Servers

STEPS, V = 24, 64
WORDS = [
    "the",
    "old",
    "mill",
    "turns",
    "its",
    "wheel",
    "as",
    "water",
    "runs",
    "down",
    "to",
    "sea",
    "and",
    "boats",
    "go",
    "by",
    "under",
    "bridge",
    "in",
    "rain",
]
CONFIG = f"""
from bert_jax.config import Checkpoints, Config, Data, Evaluation, Model, Phase, use

config = Config(
    name="tiny",
    data=Data(
        sources=(use("text_files", paths="text.txt"),),
        cleaning=(use("exact_duplicates"),),
        tokenizer=use("sentencepiece", vocab_size={V}),
        held_out=0.1,
        workers=1,
    ),
    model=Model(vocab_size={V}, layers=2, width=24, heads=3, mlp_width=48, max_length=32),
    optimizer=use("adamw"),
    phases=(Phase(steps={STEPS}, length=32, batch_size=8, learning_rate=1e-3),),
    checkpoints=Checkpoints(every_steps=6, keep=20),
    evaluation=Evaluation(batch_size=8, max_rows=8, single_mask_rows=2),
    log_every=1,
    examples=("the [MASK] turns",),
)
"""
TASK = """
from bert_jax.config import FineTuning, use

config = FineTuning(
    name="task",
    task=use("classification"),
    source=use("json_lines", train="train.jsonl", dev="dev.jsonl"),
    length=32,
    batch_size=8,
    epochs=2,
    learning_rate=1e-3,
    evaluations=2,
)
"""
SUITE = """
from bert_jax.config import Member, Suite

config = Suite(name="suite", tasks=(Member("task.py"),))
"""


@dataclasses.dataclass(frozen=True)
class Command:
    """One command on the world's files."""

    module: str
    flags: tuple[str, ...]
    reads: tuple[str, ...]  # files and folders of the world
    writes: tuple[str, ...]
    result: Callable[[Path], Any]  # what it has done, without times
    begins: tuple[str, ...] = ()  # what it reads where nothing is done yet, if that is not `reads` without `writes`

    @property
    def fresh(self) -> tuple[str, ...]:
        """What it reads where nothing is done yet."""
        return self.begins or tuple(name for name in self.reads if name not in self.writes)

    @property
    def line(self) -> list[str]:
        """Module and flags."""
        return [self.module, *self.flags]


def trained(folder: Path) -> Any:
    """Every logged loss, and the checksums of the last checkpoint."""
    lines = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    last = json.loads((folder / f"run/checkpoints/{STEPS}/run/metadata").read_text())
    return [(line["step"], line["loss"]) for line in lines], last["checksums"]


def prepared(folder: Path) -> Any:
    """The manifest, which has the checksums of every file."""
    return json.loads((folder / "store/manifest.json").read_text())


def timeless(*names: str) -> Callable[[Path], Any]:
    """What JSON files hold, but for seconds."""

    def without_seconds(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: without_seconds(v) for k, v in value.items() if "seconds" not in k and "per_second" not in k}
        return [without_seconds(v) for v in value] if isinstance(value, list) else value

    return lambda folder: [without_seconds(json.loads((folder / name).read_text())) for name in names]


def contents(*names: str) -> Callable[[Path], Any]:
    """Digests of files, and of all files in folders."""

    def digests(folder: Path) -> dict[str, str]:
        paths = [path for name in names for path in ([folder / name] if (folder / name).is_file() else
                 sorted((folder / name).rglob("*")))]  # fmt: skip
        files = [path for path in paths if path.is_file()]
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return digests


TEXTS, RUN = ("tiny.py", "text.txt"), ("run",)
LABELLED = ("task.py", "train.jsonl", "dev.jsonl")
VECTORS = ("vectors.npy", ".vectors.npy.partial", ".vectors.npy.progress.json")
COMMANDS = {
    "prepare": Command(
        "data_pipeline.prepare", ("--config=tiny.py", "--output=store"), TEXTS,
        ("store", "store.preparing", "downloads"), prepared,
    ),
    "train": Command(
        "bert_jax.train", ("--config=tiny.py", "--workdir=run"), (*TEXTS, *RUN), RUN, trained, (*TEXTS, "run/store"),
    ),
    "pretrain": Command("bert_jax.pretrain", ("--config=tiny.py", "--workdir=run"), (*TEXTS, *RUN), RUN, trained),
    "evaluate": Command("bert_jax.evaluate", ("--workdir=run",), RUN, RUN, timeless("run/evaluation.json"), RUN),
    "fill_mask": Command(
        "bert_jax.fill_mask", ("--workdir=run", "--text=the [MASK] turns", "--json=filled.json"), RUN,
        ("filled.json",), timeless("filled.json"),
    ),
    "report": Command(
        "bert_jax.report", ("--workdir=run",), RUN, RUN, lambda folder: (folder / "run/report.html").exists(), RUN,
    ),
    "convert": Command(
        "bert_jax.convert", ("--workdir=run", "--output=exported"), RUN, ("exported",), contents("exported"),
    ),
    "import": Command(
        "bert_jax.convert", ("--source=run/huggingface", "--output=imported"), RUN, ("imported",),
        contents("imported"),
    ),
    "embed": Command(
        "bert_jax.embed", ("--model=run", "--input=many.txt", "--output=vectors.npy"), (*RUN, "many.txt"), VECTORS,
        contents("vectors.npy"),
    ),
    "finetune": Command(
        "bert_jax.finetune", ("--config=task.py", "--init_from=run", "--workdir=tuned"), (*RUN, *LABELLED, "tuned"),
        ("tuned",), timeless("tuned/scores.json"),
    ),
    "suite": Command(
        "bert_jax.suite", ("--config=suite.py", "--init_from=run", "--workdir=suite", "--seeds=1"),
        (*RUN, *LABELLED, "suite.py", "suite"), ("suite",), timeless("suite/table.json"),
    ),
    "predict": Command(
        "bert_jax.predict", ("--workdir=tuned", "--input=sentences.txt", "--output=answers.jsonl"),
        ("tuned", "sentences.txt"), ("answers.jsonl",), contents("answers.jsonl"),
    ),
}  # fmt: skip
MADE_BY = ("prepare", "pretrain", "embed", "finetune", "suite")  # in this order


class World:
    """The folder in which every command has done its work once, and what each has found."""

    def __init__(self, folder: Path, servers: Servers):
        self.folder = folder
        self.seconds: dict[str, float] = {}
        made = folder.with_name("seconds.json")
        if made.exists():
            self.seconds = json.loads(made.read_text())
        else:
            self.make(servers)
            made.write_text(json.dumps(self.seconds))
        self.results = {name: command.result(folder) for name, command in COMMANDS.items()}

    def make(self, servers: Servers) -> None:
        """Runs every command once."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        write_texts(self.folder)
        for name in dict.fromkeys([*MADE_BY, *COMMANDS]):
            outcome = servers.run(self.folder, COMMANDS[name].line)
            if outcome.code:
                raise SystemExit(f"error: {name} fails without an attack: {outcome.error[-2000:]}")
            self.seconds[name] = outcome.seconds

    def copy(self, folder: Path, names: Iterable[str]) -> None:
        """Puts copies of some of the world's files into a case's folder."""
        for name in names:
            source = self.folder / name
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, folder / name, symlinks=True)
            elif source.exists():
                shutil.copy2(source, folder / name)

    def differs(self, name: str, folder: Path) -> list[str]:
        """Complaints unless a command has found in a folder what it finds without an attack."""
        return (
            [] if COMMANDS[name].result(folder) == self.results[name] else [f"{name}: another result, not a word of it"]
        )


def write_texts(folder: Path) -> None:
    """The text, the labelled examples and the configurations."""
    random_ = random.Random(0)
    sentence = lambda: " ".join(random_.choices(WORDS, k=random_.randint(3, 12))).capitalize() + "."
    documents = ["\n".join(sentence() for _ in range(random_.randint(1, 6))) for _ in range(300)]
    (folder / "text.txt").write_text("\n\n".join(documents))
    for name, number in (("sentences", 64), ("many", 20_000)):
        (folder / f"{name}.txt").write_text("\n".join(sentence() for _ in range(number)) + "\n")
    for name, number in (("train", 48), ("dev", 16)):
        lines = [
            {"text": f"{word} {sentence()}", "label": word} for word in random_.choices(["mill", "boats"], k=number)
        ]
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    for name, content in (("tiny.py", CONFIG), ("task.py", TASK), ("suite.py", SUITE)):
        (folder / name).write_text(content)
