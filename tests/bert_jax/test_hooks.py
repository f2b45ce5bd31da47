"""Hooks of a real run: when they are called, and what they can do."""

import dataclasses
import json

import pytest
import runs

from bert_jax import train
from bert_jax.config import Checkpoints, Config, Data, Model, Phase
from configuration.variants import ConfigError, use

CONFIG = Config(
    name="hooked",
    phases=(Phase(steps=7, length=8, batch_size=8, learning_rate=1e-2, schedule=use("linear", warmup=0)),),
    model=Model(vocab_size=runs.V, layers=1, width=24, heads=3, mlp_width=48, max_length=8),
    optimizer=use("adamw"),
    checkpoints=Checkpoints(every_steps=100),
    log_every=1,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return runs.make_recipe(tmp_path_factory.mktemp("recipe")).parent / "store"


def run(folder, store, *hooks):
    return train.train(dataclasses.replace(CONFIG, data=Data(store=str(store)), hooks=hooks), folder)


def noted(folder):
    return (folder / "noted.txt").read_text().splitlines()


def test_a_hook_is_called_every_so_many_steps_and_after_the_last(store, tmp_path) -> None:
    assert run(tmp_path, store, use("plugins.note", every=3))["steps"] == 7
    assert noted(tmp_path) == ["3 3", "6 6", "7 7 last"]


def test_it_can_stop_the_run_which_then_goes_on(store, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, store, use("plugins.note", every=1, stop=3))
    assert noted(tmp_path) == ["1 1", "2 2", "3 3", "4 4 last"]
    assert run(tmp_path, store, use("plugins.note", every=5))["steps"] == 7  # a hook may change between two runs
    assert noted(tmp_path)[4:] == ["5 5", "7 7 last"]


def test_a_signal_during_the_last_step_is_not_lost_on_what_comes_after_training(store, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, store, use("plugins.note", every=1, stop=7))
    assert noted(tmp_path)[-1] == "7 7 last"
    assert (tmp_path / "checkpoints" / "7").exists()
    assert run(tmp_path, store, use("plugins.note", every=1))["steps"] == 7
    assert noted(tmp_path)[-1] == "7 7 last"


def test_a_time_limit_leaves_a_checkpoint(store, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, store, use("time_limit", hours=1e-9, every=2))
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    assert (tmp_path / "checkpoints" / "2").exists()
    assert run(tmp_path, store, use("time_limit", hours=1.0))["steps"] == 7


def test_wrong_hooks_are_named_before_anything_compiles(store, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"bert_jax.training.hooks has no variant 'time'; did you mean 'time_limit'"):
        run(tmp_path, store, use("time"))
    with pytest.raises(ConfigError, match=r"time_limit.hours is 0.0; it must be above 0"):
        run(tmp_path, store, use("time_limit", hours=0.0))
    assert not (tmp_path / "metrics.jsonl").exists()
