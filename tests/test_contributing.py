"""Each row of CONTRIBUTING's table of variants, followed to the letter by a file outside the package.

The files are written as the row says and nothing else is touched. Rows whose variants have tests of their own name the
plugin there: tests/plugins.
"""

import dataclasses
import json
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from bert_jax import baselines
from bert_jax.config import Config, Data, Evaluation, Model, Phase, use
from bert_jax.embedding import evaluations
from bert_jax.embedding.losses import build_loss
from bert_jax.evaluate import evaluate
from bert_jax.formats import families, family, huggingface
from bert_jax.modeling import bert, heads
from bert_jax.objectives.rates import rate_of
from bert_jax.train import train
from configuration.variants import load
from data_pipeline.labelled import Record, open_records
from data_pipeline.prepare import prepare

ROOT = Path(__file__).parents[1]
PLUGINS = {
    "an objective": "second_stack",
    "a masking": "every_other",
    "a position scheme": "slopes",
    "an attention kernel": "near",
    "a hook": "note",
    "a task": "margin",
}
FILES = {
    "a replacement": """
from bert_jax.objectives.replacement import Replacement

def build(vocabulary, *, shown: int = 0):
    return Replacement(lambda targets, chosen, batch, key: targets * 0 + (shown or vocabulary.mask))
""",
    "a masking rate": """
from bert_jax.objectives.rates import Rate

def build(*, last: float = 0.2) -> Rate:
    return Rate(lambda share: 0.5 + (last - 0.5) * share, max(0.5, last))
""",
    "a head": """
from bert_jax.modeling.heads import pooler

def build(model, *, option: int = 0):
    return pooler.build(model)
""",
    "a start": """
import jax

def build(*, scale: float = 0.5):
    return lambda model, params, key: jax.tree.map(lambda x: scale * x, params)
""",
    "an optimizer": """
import optax

def build(learning_rate, *, momentum: float = 0.9):
    return optax.sgd(learning_rate, momentum)
""",
    "a schedule": """
import optax

def build(steps, peak, *, share: float = 1.0):
    return optax.constant_schedule(share * peak)
""",
    "a transform of the weights": """
import jax
from bert_jax.transforms import Transform

def build(steps, *, factor: float = 1.0):
    return Transform(apply=lambda params, state: jax.tree.map(lambda x: factor * x, params))
""",
    "an evaluator": """
from bert_jax.evaluators import Evaluator

def build(config, store, mesh, *, times: int = 1):
    return Evaluator(lambda params: {"own_figure": 7.0 * times}, describe)

def describe(figures):
    return f"own figure {figures['own_figure']}"
""",
    "a log target": """
from bert_jax.reporting.loggers import Logger

class Own(Logger):
    def __init__(self, file):
        self.file = file.open("a")
    def write(self, step, values):
        self.file.write(f"{step} {values['loss'] > 0}\\n")
    def close(self):
        self.file.close()

def build(run, *, name: str = "own.log"):
    return Own(run.workdir / name)
""",
    "a source of text": """
from data_pipeline.sources import Document, Part, Source

def build(downloads, *, documents: int = 60):
    texts = tuple(f"The old mill turns. Water {i} runs down; boats go by." for i in range(documents))
    return Source(size=sum(map(len, texts)), parts=lambda: iter([Part(len(t), Read(t)) for t in texts]))

class Read:
    def __init__(self, text):
        self.text = text
    def __call__(self):
        return [Document(self.text[:30], self.text)]
""",
    "a baseline": """
from bert_jax.baselines import Baseline, majority

def build(*, option: int = 0):
    return Baseline(("classification",), majority.predict)
""",
    "a labelled source": """
from data_pipeline.labelled import Labelled, Record

def build(*, records: int = 20):
    return Labelled(lambda split: [Record({"text": f"text {i}", "label": "ab"[i % 2]}, f"{i}") for i in range(records)],
                    ("train",))
""",
    "a cleaning rule": """
from data_pipeline.cleaning import Rewrite

def build(*, old: str = ";"):
    return Rewrite(lambda text: text.replace(old, "."))
""",
    "a sentence splitter": """
def build(*, mark: str = "."):
    return lambda text: [part.strip() for part in text.split(mark) if part.strip()]
""",
    "a tokenizer": """
from data_pipeline.tokenizers import sentencepiece

def build(word_counts, *, size: int = 40):
    return sentencepiece.build(word_counts, vocab_size=size)
""",
    "word starts": """
import numpy as np

def build(tokenizer, *, option: int = 0):
    return lambda ids, lengths: np.ones(len(ids), bool)
""",
    "an annotation": """
import numpy as np

def build(tokenizer, *, label: int = 3):
    return lambda ids, lengths, word_starts: np.full(len(ids), label, np.uint8)
""",
    "a row format": """
from data_pipeline.rows import full_sentences

def build(length, isolate, *, option: int = 0):
    return full_sentences.build(length, isolate)
""",
    "a loss of vectors": """
from bert_jax.embedding.losses import Loss

def build(model, *, factor: float = 1.0):
    return Loss(lambda params, vectors, batch: (factor * vectors.mean(), {}), (2,))
""",
    "an evaluation of vectors": """
from bert_jax.embedding.evaluations import Evaluation

def build(*, factor: float = 1.0) -> Evaluation:
    texts = lambda records: [record.values["text"] for record in records]
    return Evaluation(lambda embed, records: {"own_sum": factor * float(embed(texts(records)).sum())}, "own_sum")
""",
    "a checkpoint family": """
import dataclasses
from bert_jax.formats.families import bert

FAMILY = dataclasses.replace(bert.FAMILY, preference=bert.FAMILY.preference + 1)
""",
}
NAMES = {row: f"own_{re.sub(' of.*', '', row).split()[-1]}" for row in FILES}
NAMES["a transform of the weights"], NAMES["a source of text"] = "own_transform", "own_text"
NAMES["a loss of vectors"] = "own_loss"


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory):
    """The files, in a folder on Python's path as a package `mine`."""
    folder = tmp_path_factory.mktemp("path")
    (folder / "mine").mkdir()
    for row, content in FILES.items():
        (folder / "mine" / f"{NAMES[row]}.py").write_text(content)
    sys.path.insert(0, str(folder))
    yield folder / "mine"
    sys.path.remove(str(folder))


def own(row: str, **options: object):
    """The variant of a row."""
    return use(f"mine.{NAMES[row]}", **options)


def test_every_row_has_a_file_here_or_a_plugin() -> None:
    table = re.findall(r"^\| ([a-z][^|]*?) \| `", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert len(set(NAMES.values())) == len(FILES)
    assert {*FILES, *PLUGINS} == set(table)
    for plugin in PLUGINS.values():
        uses = [path for path in (ROOT / "tests").rglob("test_*.py") if f'"plugins.{plugin}"' in path.read_text()]
        assert uses, plugin


@pytest.fixture(scope="module")
def data() -> Data:
    """Text to rows by files of one's own alone."""
    return Data(
        sources=(own("a source of text", documents=80),),
        cleaning=(own("a cleaning rule", old=";"),),
        sentences=own("a sentence splitter", mark="."),
        tokenizer=own("a tokenizer", size=40),
        words=own("word starts"),
        annotations=(own("an annotation", label=5),),
        rows=own("a row format"),
        held_out=0.2,
        workers=1,
    )


@pytest.fixture(scope="module")
def store(data, tmp_path_factory):
    return prepare(data, tmp_path_factory.mktemp("store") / "store", progress=False)


def test_text_becomes_a_store(store) -> None:
    (shard,) = store.split("train").shards
    assert store.vocab_size == 40
    sentences = np.diff(shard.document_offsets)
    assert set(sentences.tolist()) == {3}  # the semicolon became a point, at which the splitter cuts
    tokens = int(shard.sentence_offsets[-1])
    assert set(shard.annotation("own_annotation", 0, tokens).tolist()) == {5}


def test_a_run_trains_and_is_evaluated(store, data, tmp_path, capfd) -> None:
    config = Config(
        name="own",
        data=dataclasses.replace(data, store=str(store.path)),
        model=Model(vocab_size=40, layers=1, width=24, heads=3, mlp_width=48, max_length=16, init=own("a start")),
        objective=use("mlm", mask_rate=own("a masking rate", last=0.3), replacement=own("a replacement", shown=7)),
        optimizer=own("an optimizer", momentum=0.5),
        phases=(Phase(3, 16, 4, 1e-2, schedule=own("a schedule", share=0.5)),),
        transforms=(own("a transform of the weights", factor=2.0),),
        evaluators=(own("an evaluator", times=2),),
        evaluation=Evaluation(batch_size=4, max_rows=4),
        loggers=(use("jsonl"), own("a log target", name="mine.log")),
        log_every=1,
    )
    assert train(config, tmp_path / "run")["steps"] == 3
    assert (tmp_path / "run/mine.log").read_text() == "1 True\n2 True\n3 True\n"
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["learning_rate"] for line in lines] == pytest.approx([5e-3] * 3)
    figures = evaluate(tmp_path / "run", store=str(store.path))
    assert (figures["own_figure"], figures["weights"]) == (14.0, f"mine.{NAMES['a transform of the weights']}")


def test_labelled_records_and_a_baseline() -> None:
    records = open_records(own("a labelled source", records=40), dev_share=0.5, text=("text",))
    assert sum(map(len, records.values())) == 40
    baseline = load(baselines.PACKAGE, own("a baseline"))()
    reader = baselines.reader("classification", {"labels": ("a", "b")}, ("text",))
    outputs, _ = baseline.predict(reader, records["train"], records["dev"])
    assert outputs["probabilities"].shape == (len(records["dev"]), 2)


def test_a_head_and_a_loss_of_vectors() -> None:
    model = Model(vocab_size=40, layers=1, width=24, heads=3, mlp_width=48, max_length=16)
    found = bert.init(model, jax.random.key(0), heads.parts(model, own("a head", option=1)))
    assert found[f"mine.{NAMES['a head']}"]["kernel"].shape == (24, 24)
    loss = build_loss(own("a loss of vectors", factor=3.0), model)
    assert loss.value({}, np.ones((2, 2, 4)), {})[0] == 3.0


def test_a_masking_rate() -> None:
    rate = rate_of(own("a masking rate", last=0.3))
    assert [rate.at(share) for share in (0, 1)] == pytest.approx([0.5, 0.3])
    assert rate.highest == 0.5


def test_an_evaluation_of_vectors() -> None:
    evaluation = load(evaluations.PACKAGE, own("an evaluation of vectors", factor=2.0))()
    figures = evaluation.evaluate(lambda texts: np.ones((len(texts), 3)), [Record({"text": "a"}, "1")] * 4)
    assert figures[evaluation.main] == 24.0


def test_a_checkpoint_family_is_a_file_of_its_folder(files, tmp_path, monkeypatch) -> None:
    """It is named by `model_type` in a stranger's config.json, and so is none outside the package."""
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(files)])
    model = Model(vocab_size=128, layers=1, width=24, heads=3, mlp_width=48, max_length=16)
    params = bert.init(model, jax.random.key(0))
    name = NAMES["a checkpoint family"]
    huggingface.write(model, params, tmp_path, name)
    content = json.loads((tmp_path / "config.json").read_text())
    assert family.load(name).preference == family.load("bert").preference + 1
    (tmp_path / "config.json").write_text(json.dumps(content | {"model_type": name}))
    read, found = huggingface.read(tmp_path)
    assert family.differences(read, model) == {}
    jax.tree.map(np.testing.assert_array_equal, found, params)
