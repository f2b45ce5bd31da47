"""Held-out evaluation during training: it leaves the run alone, keeps the best, stops early, and resumes exactly."""

import json
import os
import signal

import numpy as np
import pytest
import runs

from bert_jax import convert
from bert_jax.checkpoints.manager import restore_params
from bert_jax.evaluate import evaluate
from bert_jax.runtime.trees import flatten
from bert_jax.training.held_out import Best, best_of, following
from configuration.variants import ConfigError

STEPS, EVERY = runs.STEPS, 4
# A learning rate at which the small model soon learns its few documents by heart, and held-out ones worse and worse.
BY_HEART = [
    "--config.phases.0.learning_rate=3e-2",
    "--config.model.dropout=0",
    "--config.model.attention_dropout=0",
    f"--config.eval_every={EVERY}",
    "--config.eval_rows=16",
    "--config.evaluation.batch_size=8",
    "--config.checkpoints.keep=1",
]
PATIENCE = "--config.patience=3"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return runs.make_recipe(tmp_path_factory.mktemp("recipe"))


def trained(recipe, name, *flags):
    code, said = runs.run(recipe, recipe.parent / name, *flags)
    assert code == 0, said
    return recipe.parent / name, said


@pytest.fixture(scope="module")
def alone(recipe):
    """The run with evaluations that nothing interrupts."""
    return trained(recipe, "alone", *BY_HEART, PATIENCE)


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def evaluations(folder):
    return {r["step"]: r["eval_loss"] for r in records(folder) if "eval_loss" in r}


def checkpoints(folder):
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir())


def test_it_stops_early_and_keeps_the_best(alone):
    folder, said = alone
    found = evaluations(folder)
    best, last = min(found, key=found.get), max(found)
    assert list(found) == list(range(EVERY, last + 1, EVERY))
    assert last == best + 3 * EVERY < STEPS
    assert max(runs.losses(folder)) == last
    assert checkpoints(folder) == sorted({best, last})
    assert f"step {last}: eval_loss {found[last]:.4f} on held-out rows, not the best for 3 evaluations" in said


def test_the_best_can_be_evaluated_and_exported(alone, tmp_path):
    folder, _ = alone
    found = evaluations(folder)
    best = min(found, key=found.get)
    figures = evaluate(folder, ["masked_language"], "best")
    assert figures["step"] == best
    _, params, step = restore_params(folder, "best")
    assert step == best
    assert evaluate(folder, ["masked_language"])["step"] == max(found)
    opened = convert.export(folder, tmp_path / "out", step="best")
    for name, leaf in flatten(params).items():
        np.testing.assert_array_equal(leaf, flatten(opened.params)[name])
    with pytest.raises(ConfigError, match=rf"--step=1: there is no such checkpoint in .*; there are: best, {best}, "):
        restore_params(folder, "1")


def test_what_training_finds_is_what_the_command_finds(recipe):
    folder, _ = trained(recipe, "rows", "--config.evaluation.max_rows=16", *BY_HEART, "--config.phases.0.steps=4")
    figures = evaluate(folder, ["masked_language"])
    for name, value in records(folder)[-1].items():
        if name in figures:
            assert figures[name] == pytest.approx(value, rel=1e-5), name


def test_evaluating_leaves_the_run_alone(recipe, alone):
    without = [flag for flag in BY_HEART if "eval_every" not in flag]
    folder, _ = trained(recipe, "without", *without)
    losses = runs.losses(folder)
    assert {step: losses[step] for step in runs.losses(alone[0])} == runs.losses(alone[0])
    assert not evaluations(folder)
    with pytest.raises(ConfigError, match=r"--step=best: no checkpoint in .* was evaluated during training"):
        restore_params(folder, "best")


def test_a_killed_and_a_stopped_run_end_as_the_one_left_alone(recipe, alone, tmp_path):
    """Stopped between two evaluations, and killed after the best one; then the patience counts on."""
    found = evaluations(alone[0])
    best = min(found, key=found.get)
    for step, number in ((best - 2, signal.SIGTERM), (best + EVERY + 1, signal.SIGKILL)):
        process = runs.start(recipe, tmp_path, *BY_HEART, PATIENCE)
        runs.wait_for_step(process, tmp_path, max(step, 1))
        os.kill(process.pid, number)
        runs.finish(process)
    code, said = runs.run(recipe, tmp_path, *BY_HEART, PATIENCE)
    assert code == 0, said
    assert evaluations(tmp_path) == found
    assert runs.losses(tmp_path) == runs.losses(alone[0])
    assert checkpoints(tmp_path) == checkpoints(alone[0])
    assert restore_params(tmp_path, "best")[2] == best


def test_a_run_that_has_ended_early_trains_no_more(recipe, alone):
    before = records(alone[0])
    code, said = runs.run(recipe, alone[0], *BY_HEART, PATIENCE)
    assert code == 0, said
    assert "training has ended early: not the best for 3 evaluations" in said
    assert records(alone[0]) == before


@pytest.mark.slow
def test_two_processes_end_at_the_same_step(recipe, alone, tmp_path):
    """Also when the second one starts again, where the first alone has the log."""
    flags = [*BY_HEART, PATIENCE]
    pair = runs.start_all(recipe, tmp_path, *flags)
    runs.wait_for_step(pair[0], tmp_path, 6)
    pair[0].send_signal(signal.SIGTERM)
    for process in pair:
        runs.finish(process)
    ended = [runs.finish(process) for process in runs.start_all(recipe, tmp_path, *flags)]
    assert [code for code, _ in ended] == [0, 0], ended
    one, other = evaluations(alone[0]), evaluations(tmp_path)
    assert list(one) == list(other)
    np.testing.assert_allclose(list(other.values()), list(one.values()), rtol=1e-4)


def test_what_is_known_of_the_best():
    log = [{"step": 1}, {"step": 2, "a": 3.0}, {"step": 4, "a": float("nan")}, {"step": 6, "a": 2.0}]
    assert best_of(log, "a", 1) == Best(2.0, 6, 0)
    assert best_of(log, "a", -1) == Best(-3.0, 2, 2)
    assert best_of(log[:1], "a", 1) == Best()
    assert following(Best(2.0, 6, 1), 8, 2.0) == Best(2.0, 6, 2)


def test_wrong_settings_are_named(recipe, tmp_path):
    for flags, wanted, message in (
        (["--config.patience=2"], 2, "config.patience is 2; it must be 0, or eval_every be above 0"),
        (
            ["--config.eval_every=2", "--config.best_metric=loss"],
            1,
            "config.best_metric is 'loss'; the evaluators give eval_loss",
        ),
    ):
        code, said = runs.run(recipe, tmp_path, *flags)
        assert code == wanted
        assert message in said
