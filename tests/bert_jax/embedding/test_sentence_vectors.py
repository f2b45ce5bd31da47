"""Training of sentence vectors: packed rows, meshes and microbatches change nothing; PyTorch takes the same steps."""

import dataclasses
import json
import os
import subprocess
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import jax
import numpy as np
import pytest
from encoders import WORDS, make_model, make_texts, make_tokenizer

import bert_jax
from bert_jax import finetune, predict
from bert_jax.checkpoints.manager import restore_params
from bert_jax.config import FineTuning, Mesh, use
from bert_jax.embedding.pooling import one_text_a_document
from bert_jax.encoder import Encoder
from bert_jax.evaluators import task_scores
from bert_jax.formats import folder, huggingface, native
from bert_jax.modeling import bert, layers
from bert_jax.objectives import Vocabulary
from bert_jax.runtime import sharding
from bert_jax.training.state import abstract_state, init_state
from bert_jax.training.step import DROPOUT, jit_train_step
from configuration.variants import ConfigError, Variant, load
from data_pipeline.errors import DataError

pytest.importorskip("scipy")
SIZES = {"layers": 2, "width": 24, "mlp_width": 20, "init_std": 0.1}
LIVING = {"mill": "wheel", "river": "sea"}  # words that mean the same to those who score


def other_words(text: str) -> str:
    return " ".join(LIVING.get(word, word) for word in text.split())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An encoder, and lines, triplets, classes and scored pairs to train it on."""
    folder, rng = tmp_path_factory.mktemp("vectors"), np.random.default_rng(0)
    (folder / "encoder").mkdir()
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, **SIZES)
    native.write(model, jax.device_get(bert.init(model, jax.random.key(3))), folder / "encoder")
    tokenizer.save(folder / "encoder/tokenizer")
    texts = [text for text in make_texts(400, 5, seed=1) if text]
    (folder / "lines.txt").write_text("\n".join(texts[:120]) + "\n")
    others = [" ".join(rng.choice(WORDS, 3)) for _ in texts]
    rows = [
        {"a": a, "p": other_words(a), "n": n, "s": s, "c": "neutral" if s < 2.5 else "same"}
        for a, n, s in zip(texts, others, rng.uniform(0, 2, len(texts)).round(2).tolist(), strict=True)
    ]
    pairs = [
        row | ({"b": row["p"], "s": row["s"] + 3, "c": "same"} if i % 2 else {"b": row["n"]})
        for i, row in enumerate(rows)
    ]
    for split, few in (("train", pairs[:120]), ("dev", pairs[120:180]), ("test", pairs[180:240])):
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, few)) + "\n")
    return folder


LOSSES = {
    "simcse": use("simcse", projection=True),
    "supervised": use("simcse", hard_negative_weight=2.0),
    "negatives": use("multiple_negatives", both_directions=True),
    "triplet": use("triplet"),
    "cosine": use("cosine"),
    "cosent": use("cosent", scale=5.0),
    "softmax": use("softmax"),
    "matryoshka": use("matryoshka", dimensions=(24, 6)),
}
TRIPLETS = {"texts": ("a", "p", "n")}
SCORED = {"texts": ("a", "b"), "label": "s", "label_range": (0, 5)}
OPTIONS = {
    "simcse": {"pooling": "cls"},
    "supervised": TRIPLETS | {"dense": 24},
    "negatives": TRIPLETS,
    "triplet": TRIPLETS | {"dense": 7, "pooling": "max"},
    "cosine": SCORED,
    "cosent": SCORED,
    "softmax": {"texts": ("a", "b"), "label": "c", "pooling": "mean+max"},
    "matryoshka": TRIPLETS,
}


def tuning(files, kind: str, **changes) -> FineTuning:
    split = lambda name: use("json_lines", **{name: str(files / f"{name}.jsonl")})
    train = use("lines", train=str(files / "lines.txt")) if kind == "simcse" else split("train")
    source = use("splits", train=train, dev=split("dev"), test=split("test"))
    task = use("sentence_vectors", loss=LOSSES[kind], pair=("a", "b"), score="s", **OPTIONS[kind])
    settings = {"length": 64, "batch_size": 16, "epochs": 3, "learning_rate": 3e-3, "evaluations": 2}
    return FineTuning(kind, task, source, init_from=str(files / "encoder"), **settings | changes)


def opened(files, tmp_path, kind: str, devices: int = 1, **changes):
    """The labelled set, the run's configuration, its mesh, the objective, and a state with the encoder's weights."""
    settings = tuning(files, kind, **changes)
    data, _ = finetune.opened(settings, tmp_path)
    config = finetune.config_of(dataclasses.replace(settings, mesh=Mesh()), data)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, kernel=use("xla")))
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:devices])
    vocabulary = Vocabulary(data.vocab_size, 0, 2, 3, 4)
    objective = load("bert_jax.objectives", config.objective)(config.model, vocabulary)
    encoder = bert_jax.load(files / "encoder").params
    return data, config, mesh, objective, init_state(config, mesh, imported=encoder)


@pytest.mark.parametrize("kind", LOSSES)
def test_packed_rows_are_one_example_a_row(files, tmp_path, kind) -> None:
    """The loss of all examples, its gradient and every output; rows of padding count nothing."""
    found = []
    for packed in (True, False):
        data, config, _, objective, state = opened(files, tmp_path, kind, packed=packed)
        params, rows = jax.device_get(state["params"]), data.rows("train", seed=None)
        batch = objective.corrupt(jax.tree.map(jax.numpy.asarray, rows.batch(0, rows.rows + 3)), jax.random.key(0))
        of = jax.jit(jax.value_and_grad(lambda p, b, run=objective: run.loss(p, (), b, None)[0]))
        outputs = task_scores.read(task_scores.reader(config, data), data, "dev", params)
        found.append((*of(params, batch), outputs["vectors"], rows.rows))
    (loss, gradient, vectors, rows), (loss_alone, gradient_alone, vectors_alone, rows_alone) = found
    assert rows < rows_alone / 1.5
    assert float(loss) == pytest.approx(float(loss_alone), rel=1e-5)
    largest = max(np.abs(x).max() for x in jax.tree.leaves(gradient_alone))
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(gradient_alone), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(0.1, largest))  # cosines, rounded to 1e-7, count 20 times
    np.testing.assert_allclose(vectors, vectors_alone, atol=1e-5)


def test_a_trained_text_is_what_embed_makes_of_it(files, tmp_path) -> None:
    """The vectors of the task are those of the encoder's own `embed`."""
    data, config, _, _, state = opened(files, tmp_path, "cosine")
    vectors = task_scores.read(task_scores.reader(config, data), data, "dev", state["params"])["vectors"]
    embedded = bert_jax.load(files / "encoder").embed([record.values["b"] for record in data.records["dev"]])
    np.testing.assert_allclose(vectors[:, 1], embedded, atol=1e-5)


@pytest.mark.parametrize("kind", ["simcse", pytest.param("negatives", marks=pytest.mark.slow), "cosent"])
def test_devices_and_microbatches_give_the_gradient_of_one_batch(files, tmp_path, kind) -> None:
    plain = {"dropout": 0.0, "attention_dropout": 0.0, "optimizer": use("plugins.descent"), "clip_norm": 0.0}
    found = []
    for devices, microbatches in ((1, 1), (4, 1), (1, 4), (4, 4)):
        changes = plain | {"microbatches": microbatches, "batch_size": 64}
        data, config, mesh, objective, state = opened(files, tmp_path, kind, devices, **changes)
        phase = dataclasses.replace(config.phases[0], batch_size=16, microbatches=microbatches)
        before = jax.device_get(state["params"])
        batch = sharding.put_batch(data.rows("train", seed=0).batch(0, 16), mesh)
        state, metrics = jit_train_step(config, phase, objective, mesh)(state, batch, ())
        gradient = jax.tree.map(lambda x, y: x - y, jax.device_get(state["params"]), before)
        found.append((float(metrics["loss"]), gradient))
    largest = max(np.abs(x).max() for x in jax.tree.leaves(found[0][1]))
    assert largest > 1e-2
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-6)
        for ours, alone in zip(jax.tree.leaves(gradient), jax.tree.leaves(found[0][1]), strict=True):
            np.testing.assert_allclose(ours, alone, atol=1e-6 * max(1.0, largest))


STEPS = 50


class Masks:
    """Stands for torch's dropout: gives it the masks of our step, in the order in which BERT asks for them."""

    def __init__(
        self, config, step: int, batch: dict[str, np.ndarray], where: list[tuple[int, int, int]], longest: int
    ):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed + 1), step), DROPOUT)
        model, (rows, length) = config.model, batch["tokens"].shape
        embed_key, layers_key = jax.random.split(key)
        self._where, self._longest = where, longest
        hidden, attention = (rows, length, model.width), (rows, model.heads, length, length)
        drawn = [self._hidden(layers.dropout_mask(hidden, model.dropout, embed_key))]
        for own in jax.random.split(layers_key, model.layers):
            attention_key, *keys = jax.random.split(own, 3)
            drawn.append(self._attention(layers.dropout_mask(attention, model.attention_dropout, attention_key)))
            drawn += [self._hidden(layers.dropout_mask(hidden, model.dropout, one)) for one in keys]
        self._left = iter(drawn)

    def _hidden(self, mask: jax.Array) -> np.ndarray:
        """[B, L, D] of packed rows → [texts, longest, D]."""
        out = np.ones((len(self._where), self._longest, mask.shape[-1]), bool)
        for i, (row, start, size) in enumerate(self._where):
            out[i, :size] = mask[row, start : start + size]
        return out

    def _attention(self, mask: jax.Array) -> np.ndarray:
        """[B, N, L, L] of packed rows → [texts, N, longest, longest]."""
        out = np.ones((len(self._where), mask.shape[1], self._longest, self._longest), bool)
        for i, (row, start, size) in enumerate(self._where):
            out[i, :, :size, :size] = mask[row, :, start : start + size, start : start + size]
        return out

    def __call__(self, x, p: float = 0.5, training: bool = True, inplace: bool = False):
        import torch

        return torch.where(torch.tensor(next(self._left)), x / (1 - p), 0.0)


@pytest.mark.torch
def test_fifty_steps_of_simcse_are_pytorchs_with_our_dropout_masks(files, tmp_path, monkeypatch) -> None:
    """Texts packed into rows here, each alone in a padded row there; the loss of every step."""
    import torch
    import transformers

    plain = {"learning_rate": 1e-3, "epochs": 20, "optimizer": use("adamw", weight_decay=0.01, eps=1e-6)}
    # [CLS] alone would leave the last layer's other tokens, and their masks, out.
    monkeypatch.setitem(OPTIONS, "simcse", {"pooling": "mean"})
    data, config, mesh, objective, state = opened(files, tmp_path, "simcse", **plain)
    model, size = config.model, config.phases[0].batch_size
    settings = transformers.BertConfig(
        vocab_size=model.vocab_size,
        hidden_size=model.width,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        intermediate_size=model.mlp_width,
        max_position_embeddings=model.max_length,
        attn_implementation="eager",
    )
    params = jax.device_get(state["params"])
    (tmp_path / "theirs").mkdir()
    huggingface.write(model, params, tmp_path / "theirs", "bert")
    theirs = transformers.BertModel.from_pretrained(tmp_path / "theirs", config=settings).train()
    assert config.model.dropout == theirs.config.hidden_dropout_prob == 0.1
    named = [*theirs.named_parameters()]
    decayed = [p for n, p in named if p.ndim > 1 and "LayerNorm" not in n]
    others = [p for n, p in named if not (p.ndim > 1 and "LayerNorm" not in n)]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, eps=1e-6)
    schedule = load("bert_jax.training.schedules", config.phases[0].schedule)(config.steps, 1e-3)
    update = jit_train_step(config, config.phases[0], objective, mesh)
    rows = data.rows("train", seed=5)
    ours, wanted = [], []
    for step in range(STEPS):
        batch = rows.batch(step * size, size)
        state, metrics = update(state, sharding.put_batch(batch, mesh), ())
        ours.append(float(metrics["loss"]))

        segments = jax.device_get(one_text_a_document(batch, 2)["segments"])
        where = []
        for row in range(size):
            for text in range(1, segments[row].max() + 1):
                places = np.flatnonzero(segments[row] == text)
                where.append((row, int(places[0]), len(places)))
        longest = max(length for _, _, length in where)
        tokens, mask = np.zeros((2, len(where), longest), np.int64)
        for i, (row, start, length) in enumerate(where):
            tokens[i, :length], mask[i, :length] = batch["tokens"][row, start : start + length], 1
        masks = Masks(config, step, batch, where, longest)
        with monkeypatch.context() as patch:
            patch.setattr(torch.nn.functional, "dropout", masks)
            out = theirs(input_ids=torch.tensor(tokens), attention_mask=torch.tensor(mask))
        real = torch.tensor(mask)[..., None]
        mean = (out.last_hidden_state * real).sum(1) / real.sum(1)
        vectors = torch.nn.functional.normalize(torch.tanh(theirs.pooler.dense(mean)), dim=-1)
        texts = torch.tensor(tokens)[0::2]  # padded with 0, which is no word
        again = (texts[:, None] == texts[None]).all(-1) & ~torch.eye(len(texts), dtype=torch.bool)
        scores = (vectors[0::2] @ vectors[1::2].T / 0.05).masked_fill(again, -torch.inf)
        loss = torch.nn.functional.cross_entropy(scores, torch.arange(len(scores)))
        wanted.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = float(schedule(step))
        optimizer.step()
    np.testing.assert_allclose(ours, wanted, rtol=1e-4)
    assert ours[-1] < ours[0] / 1.5


RECIPE = """
from bert_jax.config import *
source = use("splits", train=use("lines", train={lines!r}))
config = FineTuning(
    "simcse", use("sentence_vectors", loss=use("simcse", projection=True), pooling="cls"), source,
    init_from={encoder!r}, length=64, batch_size=64, epochs=0.5, evaluations=0, dev_share=0.0, clip_norm=0.0,
    optimizer=use("plugins.descent"), dropout=0.0, attention_dropout=0.0,
)
"""


@pytest.mark.slow
def test_the_command_gives_one_gradient_on_one_device_and_eight(files, tmp_path) -> None:
    """After one step of descent at rate 1 the weights are the first ones less the gradient."""
    recipe = tmp_path / "recipe.py"
    recipe.write_text(RECIPE.format(lines=str(files / "lines.txt"), encoder=str(files / "encoder")))
    found = []
    for number, (devices, microbatches) in enumerate(((1, 1), (8, 1), (1, 4), (2, 4))):
        workdir = tmp_path / f"run {number}"
        command = [sys.executable, "-m", "bert_jax.finetune", f"--config={recipe}", f"--workdir={workdir}"]
        command += ["--config.batch_size=63", f"--config.microbatches={microbatches}"]
        environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        config, params, step = restore_params(workdir)
        found.append((step, config.phases[0].batch_size, jax.tree.leaves(jax.device_get(params))))
    assert len({(step, batch) for step, batch, _ in found}) == 1
    for _, _, leaves in found[1:]:
        for ours, alone in zip(leaves, found[0][2], strict=True):
            np.testing.assert_allclose(ours, alone, atol=1e-6)


@pytest.mark.slow
def test_a_killed_run_ends_as_one_left_alone(files, tmp_path) -> None:
    """With dropout, microbatches and evaluations."""
    recipe = tmp_path / "recipe.py"
    settings = tuning(files, "simcse")
    recipe.write_text(
        "from bert_jax.config import *\n"
        f"lines, dev = {str(files / 'lines.txt')!r}, {str(files / 'dev.jsonl')!r}\n"
        "source = use('splits', train=use('lines', train=lines), dev=use('json_lines', dev=dev))\n"
        "task = use('sentence_vectors', loss=use('simcse', projection=True), pair=('a', 'b'), score='s')\n"
        f"config = FineTuning('s', task, source, init_from={settings.init_from!r}, length=64, batch_size=16,\n"
        "    microbatches=2, epochs=8, evaluations=8, learning_rate=3e-3)\n"
    )
    command = lambda name: [
        *[sys.executable, "-m", "bert_jax.finetune", f"--config={recipe}", f"--workdir={tmp_path / name}"]
    ]
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    subprocess.run(command("alone"), env=environment, check=True, capture_output=True)
    process = subprocess.Popen(command("killed"), env=environment, stderr=subprocess.DEVNULL)
    checkpoints = tmp_path / "killed/checkpoints"
    while not any(checkpoints.glob("[0-9]*")) and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    assert process.wait() != 0  # it was not done
    subprocess.run(command("killed"), env=environment, check=True, capture_output=True)
    alone, killed = (json.loads((tmp_path / name / "scores.json").read_text()) for name in ("alone", "killed"))
    assert killed["scores"] == alone["scores"]
    (_, params, step), (_, others, other) = (restore_params(tmp_path / name) for name in ("alone", "killed"))
    assert step == other
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(others), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_from_lines_to_an_exported_folder(files, tmp_path, capsys) -> None:
    """A run in two goes is one run; the export opens in sentence-transformers with the same vectors."""
    settings = tuning(files, "supervised", epochs=6, patience=5)
    figures = finetune.finetune(settings, tmp_path / "run", seeds=2)
    assert "60 dev, 60 test examples" in capsys.readouterr().err
    scores = figures["scores"]
    assert {"test_spearman", "test_average_precision", "test_mrr@10", "test_negative_uniformity"} <= scores.keys()
    assert scores["test_spearman"]["min"] > 0.6
    assert finetune.finetune(settings, tmp_path / "run", seeds=2) == figures
    assert "of the pairs" in (tmp_path / "run/report.html").read_text()

    exported, texts = tmp_path / "run/seed-0/huggingface", [text for text in make_texts(20, seed=5) if text]
    ours = bert_jax.load(exported).embed(texts)
    assert ours.shape == (len(texts), 24)
    best = folder.read(tmp_path / "run/seed-0", "best")
    wanted = Encoder(best.model, best.params, best.tokenizer, best.readout)
    np.testing.assert_allclose(ours, wanted.embed(texts), atol=1e-6)
    predictor = predict.load(tmp_path / "run")
    answer = predictor(predict.from_texts([texts[0], texts[0]], predictor.columns))[0]
    assert answer["cosine"] == pytest.approx(1, abs=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["simcse", "supervised", "softmax"])
def test_the_export_opens_in_sentence_transformers(files, tmp_path, kind) -> None:
    import sentence_transformers as library

    # Without evaluations the last weights are exported, else the best.
    finetune.finetune(tuning(files, kind, epochs=1, evaluations=0 if kind == "softmax" else 2), tmp_path / "run")
    texts = [text for text in make_texts(20, seed=5) if text]
    exported = tmp_path / "run/huggingface"
    theirs = library.SentenceTransformer(str(exported), device="cpu", local_files_only=True).encode(texts)
    np.testing.assert_allclose(bert_jax.load(exported).embed(texts), theirs, atol=1e-5)


def begin(settings: FineTuning, workdir) -> None:
    """What is checked before the first step, and what the first evaluation reads."""
    data, _ = finetune.opened(settings, workdir)
    config = finetune.config_of(settings, data)
    load("bert_jax.objectives", config.objective)(config.model, Vocabulary(30, 0, 2, 3, 4))
    abstract_state(config, sharding.make_mesh(config.mesh))
    data.task.scores({"vectors": np.ones((60, 2, 3))}, data.encoded("dev"), data.records["dev"])


@pytest.mark.parametrize(
    ("kind", "options", "changes", "message"),
    [
        ("cosine", {"label": ""}, {}, "config.task.label is ''; it must be a column for cosine"),
        ("simcse", {"label": "s"}, {}, "config.task.label is 's'; it must be empty for simcse"),
        ("triplet", {"texts": ("a", "p")}, {}, "the loss triplet takes 3 texts an example; there are 2"),
        (
            "triplet",
            {},
            {"length": 8},
            "config.length is 8, and an example has 3 texts of 3 tokens each",
        ),
        ("triplet", {"text_length": 30}, {}, "set length to 90 or more, or task.text_length lower"),
        ("supervised", {"loss": use("simcse", projection=True), "dense": 7}, {}, "config.task.dense is 7"),
        ("softmax", {"dense": 24}, {}, "config.task.dense is 24; it must be 0 with pooling='mean\\+max'"),
        ("cosine", {"score": "c"}, {}, "c is '(same|neutral)', which is no finite number"),
        ("cosine", {"pair": ("a",)}, {}, "config.task.pair"),
    ],
)
def test_mistakes_are_one_clear_line(files, tmp_path, kind, options, changes, message) -> None:
    settings = tuning(files, kind, **changes)
    task = Variant(settings.task.name, {**settings.task.options, **options})
    settings = dataclasses.replace(settings, task=task)
    with pytest.raises((ConfigError, DataError), match=message):
        begin(settings, tmp_path)
