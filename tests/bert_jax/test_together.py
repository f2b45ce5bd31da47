"""Several tasks on one encoder: one alone learns as ever, losses add by their weights, a stopped run ends the same."""

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest
from test_finetune import TASKS, VOCABULARY, files, opened, tuning  # noqa: F401  files is a fixture

from bert_jax import finetune, predict
from bert_jax.config import Beside, use
from bert_jax.modeling import bert
from bert_jax.objectives import parts_of, together
from bert_jax.runtime import sharding
from bert_jax.runtime.trees import flatten
from bert_jax.training.step import jit_train_step
from bert_jax.training.together import LabelledSets, TogetherRows
from configuration.variants import ConfigError, load
from data_pipeline.errors import DataError

WEIGHTS = {"kind": 0.3, "parts": 2.0, "choice": 1.0}
OTHERS = {"parts": TASKS["tagging"], "choice": TASKS["multiple_choice"]}


def settings(files, **changes):  # noqa: F811
    base = tuning(files)
    beside = tuple(Beside(name, task, base.source, WEIGHTS[name]) for name, task in OTHERS.items())
    return dataclasses.replace(base, **{"name": "kind", "beside": beside, "weight": WEIGHTS["kind"], **changes})


def several(files, tmp_path, **changes):  # noqa: F811
    asked = settings(files, **changes)
    data, _ = finetune.opened(asked, tmp_path)
    config = finetune.config_of(asked, data)
    return data, config, load("bert_jax.objectives", config.objective)(config.model, VOCABULARY)


def grouped(params, name, heads):
    """A single task's parameters as those of a run of several have them."""
    return {k: v for k, v in params.items() if k not in heads} | {name: {k: params[k] for k in heads}}


@pytest.mark.parametrize("task", ["classification", "multiple_choice"])
def test_one_task_alone_learns_as_without_others(files, tmp_path, task) -> None:  # noqa: F811
    """Five updates with dropout, to the bit."""
    data, config, objective, state = opened(files, tmp_path, task)
    mesh = sharding.make_mesh(config.mesh)
    head = "sequence_head" if task == "classification" else "choice_head"
    labelled = dataclasses.replace(data.labelled, name="own", rows=config.phases[0].batch_size // 4)
    alone = LabelledSets({"own": dataclasses.replace(data, labelled=labelled)})
    phase = dataclasses.replace(config.phases[0], batch_size=4)
    same = dataclasses.replace(config, phases=(phase,), objective=finetune.objective_for(alone))
    other = load("bert_jax.objectives", same.objective)(same.model, VOCABULARY)
    regroup = lambda tree: grouped(tree, "own", [head])
    states = jax.tree_util.tree_map(lambda x: jax.numpy.array(x), state)
    states["params"] = regroup(states["params"])
    states["opt_state"] = jax.tree.map(
        lambda x: regroup(x) if isinstance(x, dict) and head in x else x,
        states["opt_state"],
        is_leaf=lambda x: isinstance(x, dict) and head in x,
    )
    one, many = (
        jit_train_step(config, config.phases[0], objective, mesh),
        jit_train_step(same, phase, other, mesh),
    )
    rows, own = data.rows("train", seed=1), alone.rows("train", seed=1)
    for step in range(5):
        size = config.phases[0].batch_size
        state, _ = one(state, sharding.put_batch(rows.batch(step * size, size), mesh), ())
        states, metrics = many(states, sharding.put_batch(own.batch(step * 4, 4), mesh), {"own": ()})
    assert {"loss", "own_loss", "own_accuracy"} <= metrics.keys()
    found, wanted = flatten(states["params"]), flatten(regroup(state["params"]))
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(values), err_msg=name)


def test_losses_and_gradients_add_by_their_weights(files, tmp_path) -> None:  # noqa: F811
    data, config, objective = several(files, tmp_path)
    params = bert.init(config.model, jax.random.key(1), parts_of(config))
    rows = data.rows("train", seed=2)
    batch = objective.corrupt(jax.tree.map(jax.numpy.asarray, rows.batch(0, 4)), jax.random.key(0))
    of = jax.jit(jax.value_and_grad(lambda params: objective.loss(params, dict.fromkeys(WEIGHTS, ()), batch, None)[0]))
    loss, gradient = of(params)
    total, summed = 0.0, jax.tree.map(np.zeros_like, params)
    for name, own in data.sets.items():
        single = load("bert_jax.objectives", finetune.objective_of(own.labelled.task))(config.model, VOCABULARY)
        size = 4 * own.labelled.rows
        alone = own.rows("train", seed=2).batch(0, size)
        alone = single.corrupt(jax.tree.map(jax.numpy.asarray, alone), jax.random.key(0))
        view = lambda params, name=name: together.of_task(params, name)
        of_one = jax.value_and_grad(lambda params, s=single, b=alone, v=view: s.loss(v(params), (), b, None)[0])
        value, found = jax.jit(of_one)(params)
        total += WEIGHTS[name] * float(value)
        summed = jax.tree.map(lambda a, b, w=WEIGHTS[name]: a + w * np.asarray(b), summed, found)
    assert float(loss) == pytest.approx(total, rel=1e-6)
    largest = max(np.abs(x).max() for x in jax.tree.leaves(summed))
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(summed), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6 * largest, rtol=1e-5)


def test_every_batch_has_rows_of_every_task_by_the_size_of_its_set(files, tmp_path) -> None:  # noqa: F811
    rows = {name: own.rows("train", 0).rows for name, own in several(files, tmp_path)[0].sets.items()}
    for mixing in (1.0, 0.5, 0.0):
        data = several(files, tmp_path, mixing=mixing, batch_size=200)[0]
        shares = np.array([own.labelled.rows for own in data.sets.values()])
        wanted = np.array(list(rows.values())) ** mixing
        np.testing.assert_allclose(shares, shares.sum() * wanted / wanted.sum(), atol=1)
    small = several(files, tmp_path, batch_size=1)[0]
    assert [own.labelled.rows for own in small.sets.values()] == [1, 1, 1]
    stream = small.rows("train", seed=3)
    assert isinstance(stream, TogetherRows)
    batch, parts = stream.batch(2, 4), [stream.batch(2, 1), stream.batch(3, 3)]
    for name, values in batch.items():
        np.testing.assert_array_equal(values, np.concatenate([part[name] for part in parts]))


def run_to_the_end(asked, folder):
    finetune.finetune(asked, folder)
    return json.loads((folder / "scores.json").read_text())["scores"]


def test_a_run_that_is_stopped_ends_as_one_left_alone(files, tmp_path, monkeypatch) -> None:  # noqa: F811
    asked = settings(files, epochs=2, best_metric="mean")
    alone = run_to_the_end(asked, tmp_path / "alone")
    read = TogetherRows.batch

    def stopping(self, first, size):
        if first == 5 * size:
            os.kill(os.getpid(), signal.SIGTERM)
        return read(self, first, size)

    monkeypatch.setattr(TogetherRows, "batch", stopping)
    with pytest.raises(KeyboardInterrupt):
        finetune.finetune(asked, tmp_path / "stopped")
    monkeypatch.undo()
    assert run_to_the_end(asked, tmp_path / "stopped") == alone
    for name in (".", "parts", "choice"):
        found = [(tmp_path / run / name / "test_predictions.jsonl").read_text() for run in ("alone", "stopped")]
        assert found[0] == found[1]
    assert {"dev_accuracy", "dev_parts_f1", "test_choice_accuracy", "dev_mean", "test_mean"} <= alone.keys()
    mean = np.mean([alone[f"dev_{name}"]["median"] for name in ("accuracy", "parts_f1", "choice_accuracy")])
    assert alone["dev_mean"]["median"] == pytest.approx(mean)
    check_exports(tmp_path / "alone")


def check_exports(run) -> None:
    """Every task answers, and transformers' class of each says the same."""
    answers = {name: predict.load(run, name) for name in ("", "parts", "choice")}
    assert answers[""].columns == ("text",)
    transformers = pytest.importorskip("transformers")
    records = predict.from_texts(["ae joy oo"], ("text",))
    (found,) = answers[""](records)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(run / "huggingface").eval()
    tokens = transformers.AutoTokenizer.from_pretrained(run / "huggingface")(["ae joy oo"], return_tensors="pt")
    ours = [found["probabilities"][name] for name in theirs.config.id2label.values()]
    np.testing.assert_allclose(theirs(**tokens).logits.softmax(-1).detach().numpy()[0], ours, atol=1e-5)
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(run / "parts/huggingface").eval()
    (tags,) = answers["parts"]([predict.Record({"words": ["joy", "oo"]}, "here")])
    assert len(tags["tags"]) == 2
    assert set(theirs.config.label2id) == {"B-X", "O"}
    kind = transformers.AutoModelForMultipleChoice.from_pretrained(run / "choice/huggingface")
    np.testing.assert_array_equal(
        kind.bert.embeddings.word_embeddings.weight.detach(), theirs.bert.embeddings.word_embeddings.weight.detach()
    )
    with pytest.raises(ConfigError, match="has learnt no such task; did you mean 'parts'"):
        predict.load(run, "part")


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (("a", "a"), {}, "beside.name is 'a'; it must be another name"),
        (("kind", "b"), {}, "beside.name is 'kind'; it must be another name"),
        (("a b", "c"), {}, "beside.name is 'a b'; it must be letters, digits and underscores"),
        (("a", "pooler"), {}, "a task is called 'pooler', as a part of the model is"),
        (("a", "b"), {"weights": (0, 0), "weight": 0}, r"beside.weight is \[0, 0, 0\]; it must be above 0"),
        (("a", "b"), {"weights": (-1, 0)}, "beside.weight is -1; it must be a finite number"),
        (("a", "b"), {"mixing": 2}, "mixing is 2; it must be between 0 and 1"),
        (("a", "b"), {"tasks": (use("tagging", tags="tgas"),) * 2}, "task a: .* has no column 'tgas'"),
        (("a", "b"), {"tasks": (use("taging"),) * 2}, "task a: .* has no variant 'taging'; did you mean 'tagging'"),
    ],
)
def test_mistakes_are_one_clear_line(files, tmp_path, names, changes, message) -> None:  # noqa: F811
    base, changes = tuning(files), dict(changes)
    tasks, weights = changes.pop("tasks", (TASKS["tagging"],) * 2), changes.pop("weights", (1, 1))

    with pytest.raises((ConfigError, DataError), match=message):  # noqa: PT012  any of these steps
        beside = tuple(Beside(n, t, base.source, w) for n, t, w in zip(names, tasks, weights, strict=True))
        asked = dataclasses.replace(base, **{"name": "kind", "beside": beside, **changes})
        config = finetune.config_of(asked, finetune.opened(asked, tmp_path)[0])
        parts_of(config)
