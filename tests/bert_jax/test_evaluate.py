"""Evaluators of real runs: against NumPy, on a mesh, for an objective that predicts no tokens."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
import runs

import bert_jax
from bert_jax import evaluators, train
from bert_jax.checkpoints.manager import restore_params
from bert_jax.config import Config, Data, Evaluation, Mesh, Model, Phase
from bert_jax.evaluate import describe, evaluate
from bert_jax.objectives import mlm
from bert_jax.runtime import sharding
from bert_jax.training.setup import make_objective, open_store, vocabulary_of
from configuration.variants import ConfigError, use

CONFIG = Config(
    name="evaluated",
    phases=(Phase(steps=3, length=16, batch_size=8, learning_rate=1e-2, schedule=use("linear", warmup=0)),),
    model=Model(vocab_size=runs.V, layers=1, width=24, heads=4, mlp_width=48, max_length=16),
    optimizer=use("adamw"),
    evaluation=Evaluation(batch_size=6, max_rows=20, single_mask_rows=1),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return runs.make_recipe(tmp_path_factory.mktemp("recipe")).parent / "store"


def trained(folder, store, **changes):
    config = dataclasses.replace(CONFIG, data=Data(store=str(store)), **changes)
    train.train(config, folder)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory, store):
    return trained(tmp_path_factory.mktemp("plain"), store)


@pytest.fixture(scope="module")
def taught(tmp_path_factory, store):
    return trained(tmp_path_factory.mktemp("taught"), store, objective=use("plugins.taught"))


def test_the_loss_is_that_of_numpy(plain) -> None:
    figures = evaluate(plain)
    config = restore_params(plain)[0]
    opened, encoder = open_store(config, plain), bert_jax.load(plain)
    objective = mlm.build(config.model, vocabulary_of(opened), mask_rate=0.15)
    losses, right = [], []
    for number, batch in enumerate(evaluators.held_out(config, opened, 20, None)):
        key = jax.random.fold_in(jax.random.key(0), number)
        shown = jax.device_get(objective.corrupt(batch, key))
        logits = np.asarray(encoder(shown["tokens"], shown["segments"], shown["token_types"])["logits"], np.float64)
        for row, (targets, weights) in enumerate(zip(shown["targets"], shown["target_weights"], strict=True)):
            for place, target in zip(shown["target_positions"][row][weights > 0], targets[weights > 0], strict=True):
                scores = logits[row, place]
                losses.append(np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[target])
                right.append(scores.argmax() == target)
    assert figures["eval_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert figures["eval_accuracy"] == pytest.approx(np.mean(right))
    assert figures["eval_predictions"] == len(losses)
    assert figures["step"] == 3
    assert figures["pseudo_perplexity"] > 1
    assert "pseudo-perplexity" in describe(figures)


def test_a_mesh_gives_the_same_figures(plain, taught) -> None:
    mesh = sharding.make_mesh(Mesh(data=1, fsdp=2, tensor=2), jax.devices()[:4])
    for folder in (plain, taught):
        config, params, _ = restore_params(folder)
        for rows in (6, 20):
            some = dataclasses.replace(config, evaluation=dataclasses.replace(CONFIG.evaluation, max_rows=rows))
            alone, split = (evaluators.build(some, open_store(some, folder), on) for on in (None, mesh))
            on_mesh = jax.device_put(params, sharding.everywhere(mesh))
            for name in alone:
                one, other = alone[name].evaluate(params), split[name].evaluate(on_mesh)
                assert one.keys() == other.keys()
                for figure, value in one.items():
                    # A gain is the difference of two losses of about 5 nat, and no more exact than they are.
                    assert other[figure] == pytest.approx(value, rel=1e-4, abs=1e-5), figure


def test_an_objective_without_a_head_has_its_own_loss(taught) -> None:
    """As means over batches, weighted by their rows; the command says what it leaves out."""
    store = json.loads((taught / "config.json").read_text())["data"]["store"]  # outside the work folder
    command = [sys.executable, "-m", "bert_jax.evaluate", f"--workdir={taught}", f"--store={store}"]
    done = subprocess.run(command, capture_output=True, text=True, env=runs.environment(), check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the objective plugins.taught trains no masked-language-model head") == 2
    figures = json.loads((taught / "evaluation.json").read_text())
    assert figures["evaluators"] == ["held_out_loss"]
    assert f"{figures['held_out_loss']:.4f}" in done.stdout

    config, params, _ = restore_params(taught)
    opened = open_store(config, taught)
    objective, losses, rows = make_objective(config, opened), [], []
    for number, batch in enumerate(evaluators.held_out(config, opened, 20, None)):
        corrupted = objective.corrupt(batch, jax.random.fold_in(jax.random.key(0), number))
        losses.append(float(objective.loss(params, objective.constants, corrupted, None)[0]))
        rows.append((batch["segments"] > 0).any(1).sum())
    assert figures["held_out_rows"] == sum(rows)
    assert figures["held_out_loss"] == pytest.approx(np.average(losses, weights=rows), rel=1e-5)


def test_evaluators_are_named(plain) -> None:
    figures = evaluate(plain, ["held_out_loss"])
    assert figures["evaluators"] == ["held_out_loss"]
    assert "eval_loss" not in figures
    with pytest.raises(ConfigError, match=r"bert_jax.evaluators has no variant 'perplexity'; did you mean 'pseudo_p"):
        evaluate(plain, ["perplexity"])
