"""Fine-tuning: packed rows equal one example a row, steps equal PyTorch's, a killed run ends as one left alone."""

import dataclasses
import functools
import importlib.util
import json
import os
import shutil
import signal
import string
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import bert_jax
from bert_jax import finetune, predict
from bert_jax.config import FineTuning, Model, Transfer, use
from bert_jax.evaluators import task_scores
from bert_jax.formats import huggingface
from bert_jax.modeling import bert, heads
from bert_jax.objectives import Vocabulary
from bert_jax.runtime import sharding
from bert_jax.training.state import abstract_state, init_state
from bert_jax.training.step import jit_train_step
from configuration import foreign
from configuration.variants import ConfigError, load
from data_pipeline.errors import DataError

LETTERS = string.ascii_lowercase
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
MODEL = Model(vocab_size=len(PIECES), layers=2, width=24, heads=3, mlp_width=20, max_length=64)
VOCABULARY = Vocabulary(len(PIECES), 0, 2, 3, 4)
GOOD, BAD = ("fine", "good", "joy", "warm"), ("bad", "dull", "poor", "sad")


def sentence(rng: np.random.Generator, kind: int) -> str:
    other = ["".join(rng.choice(list("aeiou"), 2)) for _ in range(rng.integers(1, 7))]
    words = [*other, str(rng.choice((BAD, GOOD)[kind]))]
    rng.shuffle(words)
    return " ".join(words)


STEPS = 20


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An encoder in PyTorch's layout, and labelled files of each task."""
    folder, rng = tmp_path_factory.mktemp("task"), np.random.default_rng(0)
    (folder / "encoder").mkdir()
    params = jax.device_get(bert.init(MODEL, jax.random.key(3), heads.parts(MODEL, "pooler")))
    huggingface.write(MODEL, params, folder / "encoder")
    (folder / "encoder/vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    for split, number in (("train", 160), ("dev", 40), ("test", 40)):
        kinds = rng.integers(0, 2, number)
        rows = [{"text": sentence(rng, kind), "label": ("bad", "good")[kind], "degree": float(kind)} for kind in kinds]
        choosing = np.random.default_rng(number)
        for row in rows:
            right, others = int(choosing.integers(0, 2)), int(choosing.integers(1, 4))
            row["choices"] = [sentence(choosing, 0) for _ in range(others)]
            row["choices"].insert(right, sentence(choosing, 1))
            row["right"] = right
            row["other"] = row["choices"][0]
            row["words"] = row["text"].split()
            row["tags"] = ["B-X" if word in GOOD + BAD else "O" for word in row["words"]]
            at = next(i for i, tag in enumerate(row["tags"]) if tag == "B-X")
            start = len(" ".join(row["words"][:at])) + (at > 0)
            row["answers"] = [{"text": row["words"][at], "start": start}]
            row["question"] = "what is it"
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder


TASKS = {
    "classification": use("classification"),
    "classification, mean": use("classification", pooling="mean"),
    "classification, max": use("classification", pooling="max", dropout_samples=2),
    "classification, learned layers": use("classification", pooling="learned_layers"),
    "classification, compared": use("classification", second="other", pooling="compared"),
    "regression": use("regression", label="degree"),
    "regression, compared": use("regression", label="degree", second="other", pooling="compared"),
    "tagging": use("tagging"),
    "question_answering": use("question_answering", context="text"),
    "multiple_choice": use("multiple_choice", label="right"),
    "one of one's own": use("plugins.margin"),
}


def tuning(files, task: str = "classification", **changes) -> FineTuning:
    source = use("json_lines", **{split: str(files / f"{split}.jsonl") for split in ("train", "dev", "test")})
    settings = {"length": 64, "batch_size": 16, "epochs": 3, "learning_rate": 3e-3, "evaluations": 2}
    return FineTuning(task, TASKS[task], source, init_from=str(files / "encoder"), **settings | changes)


def opened(files, tmp_path, task: str, **changes):
    """The labelled set, the run's configuration, the objective, and a state with the encoder's weights."""
    settings = tuning(files, task, **changes)
    data, _ = finetune.opened(settings, tmp_path)
    config = finetune.config_of(settings, data)
    objective = load("bert_jax.objectives", config.objective)(config.model, VOCABULARY)
    mesh, encoder = sharding.make_mesh(config.mesh), bert_jax.load(files / "encoder").params
    parts = ("embeddings", "layers", *(["pooler"] if "pooler" in abstract_state(config, mesh)["params"] else []))
    return data, config, objective, init_state(config, mesh, imported={name: encoder[name] for name in parts})


def loss_of(objective, params, batch):
    return objective.loss(params, (), batch, None)[0]


@pytest.mark.parametrize("task", TASKS)
def test_packed_rows_are_one_example_a_row(files, tmp_path, task) -> None:
    """The loss of all examples, its gradient and every output."""
    found = []
    for packed in (True, False):
        data, config, objective, state = opened(files, tmp_path, task, packed=packed)
        params, rows = jax.device_get(state["params"]), data.rows("train", seed=None)
        batch = objective.corrupt(jax.tree.map(jax.numpy.asarray, rows.batch(0, rows.rows)), jax.random.key(0))
        of = jax.jit(jax.value_and_grad(functools.partial(loss_of, objective)))
        outputs = task_scores.read(task_scores.reader(config, data), data, "dev", params)
        found.append((*of(params, batch), outputs, rows.rows))
    (loss, gradient, outputs, rows), (loss_alone, gradient_alone, outputs_alone, rows_alone) = found
    assert rows < rows_alone / 2
    assert float(loss) == pytest.approx(float(loss_alone), rel=1e-5)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(gradient_alone), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(1e-3, np.abs(b).max()), rtol=1e-3)
    for name in outputs:
        np.testing.assert_allclose(outputs[name], outputs_alone[name], atol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ("classification", "SequenceClassification"),
        ("tagging", "TokenClassification"),
        ("multiple_choice", "MultipleChoice"),
        pytest.param("question_answering", "QuestionAnswering", marks=pytest.mark.slow),
    ],
)
def test_steps_are_those_of_pytorchs_class(files, tmp_path, task, kind) -> None:
    """The same batches, one example a row, through transformers' class and torch's AdamW: the loss of every step."""
    import torch
    import transformers

    plain = {"packed": False, "dropout": 0.0, "attention_dropout": 0.0, "learning_rate": 1e-3, "epochs": 4}
    plain["optimizer"] = use("adamw", weight_decay=0.01, eps=1e-6)  # as in BERT; with 1e-8 rounding alone makes 2e-4
    data, config, objective, state = opened(files, tmp_path, task, **plain)
    mesh = sharding.make_mesh(config.mesh)
    huggingface.write(config.model, jax.device_get(state["params"]), tmp_path, "bert")
    theirs = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(tmp_path).train()
    update = jit_train_step(config, config.phases[0], objective, mesh)
    decayed = [p for n, p in theirs.named_parameters() if p.ndim > 1 and "LayerNorm" not in n]
    others = [p for n, p in theirs.named_parameters() if not (p.ndim > 1 and "LayerNorm" not in n)]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}], eps=1e-6
    )
    schedule = load("bert_jax.training.schedules", config.phases[0].schedule)(config.steps, 1e-3)
    rows, size = data.rows("train", seed=5), config.phases[0].batch_size
    ours, wanted = [], []
    for step in range(STEPS):
        batch = rows.batch(step * size, size)
        state, metrics = update(state, sharding.put_batch(batch, mesh), ())
        ours.append(float(metrics["loss"]))
        tensors = {name: torch.tensor(np.asarray(values, np.int64)) for name, values in batch.items()}
        inputs = {
            "input_ids": tensors["tokens"],
            "attention_mask": (tensors["segments"] > 0).long(),
            "token_type_ids": tensors["token_types"],
        }
        if task == "classification":
            loss = theirs(**inputs, labels=tensors["labels"][:, 0]).loss
        elif task == "tagging":
            loss = theirs(
                **inputs, labels=torch.where(torch.tensor(batch["tag_weights"]) > 0, tensors["tags"], -100)
            ).loss
        elif task == "multiple_choice":  # transformers' examples have as many candidates each
            absent = torch.where(tensors["there"][:, 0] > 0, 0.0, -1e30)
            loss = torch.nn.functional.cross_entropy(theirs(**inputs).logits + absent, tensors["labels"][:, 0])
        else:  # transformers chooses among padding too; here padding is no candidate
            out = theirs(**inputs)
            hidden = torch.where(tensors["segments"] > 0, 0.0, -1e30)
            both = ((out.start_logits, tensors["start"]), (out.end_logits, tensors["end"]))
            loss = sum(torch.nn.functional.cross_entropy(x + hidden, target[:, 0]) for x, target in both) / 2
        wanted.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = float(schedule(step))
        optimizer.step()
    np.testing.assert_allclose(ours, wanted, rtol=1e-4)
    assert np.mean(ours[-5:]) < np.mean(ours[:5])


def test_a_task_from_files_to_answers(files, tmp_path, capsys) -> None:
    settings = tuning(files, epochs=25, learning_rate=5e-3)
    figures = finetune.finetune(settings, tmp_path / "run", seeds=2)
    said = capsys.readouterr().err
    assert "160 train, 40 dev, 40 test examples" in said
    assert "labels: bad " in said
    assert figures["scores"]["test_accuracy"]["median"] > 0.9
    assert "<h2>Confusion matrix</h2>" in (tmp_path / "run/report.html").read_text()
    again = finetune.finetune(settings, tmp_path / "run", seeds=2)
    assert again == figures
    predictor = predict.load(tmp_path / "run")
    answers = predictor(predict.from_texts(["ae joy oo", "ui dull"], predictor.columns))
    assert [answer["label"] for answer in answers] == ["good", "bad"]
    best = max(figures["seeds"], key=lambda seed: seed["dev_accuracy"])["seed"]
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / f"run/seed-{best}/huggingface"
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    assert theirs.config.id2label == {0: "bad", 1: "good"}
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        ["ae joy oo", "ui dull"], padding=True, return_tensors="pt"
    )
    probabilities = theirs.eval()(**tokens).logits.softmax(-1).detach().numpy()
    ours = [[answer["probabilities"][name] for name in ("bad", "good")] for answer in answers]
    np.testing.assert_allclose(probabilities, ours, atol=1e-5)


@pytest.mark.torch
def test_the_export_of_a_question_answering_run_gives_the_same_logits(files, tmp_path) -> None:
    """As transformers' class opens it, which has as many outputs as config.json has labels."""
    import torch
    import transformers

    finetune.finetune(tuning(files, "question_answering", epochs=1), tmp_path)
    folder = tmp_path / "huggingface"
    theirs, report = transformers.AutoModelForQuestionAnswering.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    predictor, record = predict.load(tmp_path), predict.Record({"question": "what is it", "text": "ae joy oo"}, "here")
    data = dataclasses.replace(predictor.data, records={"given": [record]})
    shown = data._kept["given"] = data.task.encode([record], data.tokenizer, data.length, False)
    ours = task_scores.read(task_scores.reader(predictor.config, data), data, "given", predictor.params)
    inputs = {"input_ids": shown.tokens, "token_type_ids": shown.token_types}
    with torch.no_grad():
        out = theirs.eval()(**{name: torch.tensor(x[None], dtype=torch.long) for name, x in inputs.items()})
    np.testing.assert_allclose(out.start_logits[0].numpy(), ours["start"], atol=1e-5)
    np.testing.assert_allclose(out.end_logits[0].numpy(), ours["end"], atol=1e-5)


def test_a_head_that_no_class_of_transformers_has_is_not_exported(files, tmp_path, capsys) -> None:
    """BertForSequenceClassification with the pooler that came with the encoder would answer otherwise."""
    finetune.finetune(tuning(files, "classification, mean", epochs=1), tmp_path)
    assert "not exported: task.pooling is 'mean', and every class of transformers" in capsys.readouterr().err
    assert not (tmp_path / "huggingface").exists()
    assert predict.load(tmp_path)(predict.from_texts(["ae joy oo"], ("text",)))[0]["label"] in ("good", "bad")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": use("classification", text="txet")}, "has no column 'txet'; did you mean 'text'"),
        (
            {"task": use("classification", poling="cls")},
            "the task classification has no option 'poling'; did you mean 'pooling'",
        ),
        ({"task": use("classification", labels=["good", "poor"])}, r"train.jsonl:\d+: the label 'bad' is none of"),
        ({"task": use("regression", label="label")}, "label is '(bad|good)', which is no finite number"),
        ({"init_from": ""}, "give --init_from="),
        ({"length": 100}, "phases.0.length is 100; it must be at most model.max_length=64"),
        ({"length": 10**12}, "config.length is 1000000000000; it must be 8 to 1,048,576 tokens"),
    ],
)
def test_mistakes_are_one_clear_line(files, tmp_path, changes, message) -> None:
    def configured():
        settings = dataclasses.replace(tuning(files), **changes)
        return finetune.config_of(settings, finetune.opened(settings, tmp_path)[0])

    with pytest.raises((ConfigError, DataError), match=message):
        configured()


def test_a_missing_package_of_the_metrics_is_said_before_training(files, tmp_path, monkeypatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "seqeval" else find(name, *more)
    )
    with pytest.raises(ConfigError, match=r"need seqeval: pip install 'bert_jax\[finetune\]'"):
        finetune.finetune(tuning(files), tmp_path)
    assert not any(tmp_path.iterdir())


def test_other_weights_at_the_same_path_are_refused(files, tmp_path) -> None:
    settings = dataclasses.replace(tuning(files), init_from=str(tmp_path / "encoder"))
    shutil.copytree(files / "encoder", tmp_path / "encoder")
    finetune.check_same_encoder(settings, tmp_path / "run")
    finetune.check_same_encoder(settings, tmp_path / "run")
    params = jax.device_get(bert.init(MODEL, jax.random.key(4), heads.parts(MODEL, "pooler")))
    huggingface.write(MODEL, params, tmp_path / "encoder")
    with pytest.raises(ConfigError, match="was begun with other weights than"):
        finetune.check_same_encoder(settings, tmp_path / "run")
    finetune.check_same_encoder(dataclasses.replace(settings, untrained=True), tmp_path / "run")


def test_an_untrained_encoder_has_fresh_weights_and_the_same_recipe(files, tmp_path) -> None:
    changes = {"untrained": True, "transfer": Transfer(layer_decay=0.9, fresh_layers=1)}
    settings = tuning(files, **changes)
    config = finetune.config_of(settings, finetune.opened(settings, tmp_path)[0])
    assert (config.init_from, config.transfer) == ("", Transfer(layer_decay=0.9))
    trained = dataclasses.replace(settings, untrained=False)
    other = finetune.config_of(trained, finetune.opened(trained, tmp_path)[0])
    assert dataclasses.replace(config, init_from=other.init_from, transfer=other.transfer) == other


@pytest.mark.slow
def test_a_killed_run_ends_as_one_left_alone(files, tmp_path) -> None:
    recipe = tmp_path / "recipe.py"
    settings = tuning(files, epochs=8)
    recipe.write_text(
        "from bert_jax.config import *\n"
        f"config = FineTuning('c', use('classification'), use('json_lines', **{dict(settings.source.options)!r}), "
        f"init_from={settings.init_from!r}, length=64, batch_size=16, epochs=8, learning_rate=3e-3)\n"
    )
    command = lambda name: [
        *[sys.executable, "-m", "bert_jax.finetune", f"--config={recipe}", f"--workdir={tmp_path / name}", "--seeds=2"]
    ]
    environment = os.environ | {"XLA_FLAGS": ""}
    subprocess.run(command("alone"), env=environment, check=True, capture_output=True)
    process = subprocess.Popen(command("killed"), env=environment, stderr=subprocess.PIPE)
    while not (tmp_path / "killed/seed-0/checkpoints").is_dir() and process.poll() is None:
        time.sleep(0.1)
    time.sleep(1.0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(command("killed"), env=environment, check=True, capture_output=True)
    alone, killed = (json.loads((tmp_path / name / "scores.json").read_text()) for name in ("alone", "killed"))
    assert killed["scores"] == alone["scores"]
    for seed in (0, 1):
        own = [(tmp_path / name / f"seed-{seed}/test_predictions.jsonl").read_text() for name in ("alone", "killed")]
        assert own[0] == own[1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"a caf\xe9", "a.txt is not UTF-8: byte at offset 5"),
        ("a.jsonl", b'{"text": "a"}\n' + b"[" * 100_000, "a.jsonl:2: this line is nested too deep"),
        ("a.jsonl", b"3", "a.jsonl:1: this line is no object but 3"),
        ("none.txt", None, "none.txt cannot be read: No such file"),
    ],
)
def test_texts_to_predict_that_cannot_be_read(tmp_path, name, content, message) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        predict.from_file(tmp_path / name, ("text",))
    assert foreign.is_ours(error.value)


@pytest.mark.parametrize("best", ["../../elsewhere", None, [], {}])
def test_scores_of_a_stranger_name_no_folder_outside(tmp_path, best) -> None:
    (tmp_path / "elsewhere/checkpoints").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    scores = {"metric": "f1", "seeds": [{"seed": best, "dev_f1": 1.0}]}
    (tmp_path / "run/scores.json").write_text(json.dumps(scores))
    with pytest.raises(foreign.FormatError, match=r"scores\.json is damaged"):
        predict.load(tmp_path / "run")
