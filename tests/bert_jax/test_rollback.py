"""Poisoned text in real runs: skipped, gone back before, left out; exact however the run was interrupted; bounded."""

import dataclasses
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs
from etils import epath
from jax.experimental.compilation_cache import compilation_cache

from bert_jax import train
from bert_jax.checkpoints.manager import read_run, read_state, restore_params
from bert_jax.config import BatchWarmup, Checkpoints, Config, Data, Guard, Model, Phase
from bert_jax.runtime import sharding
from bert_jax.training import setup
from bert_jax.training.rollback import TrainingError, rows_between
from bert_jax.training.state import abstract_state
from configuration.variants import use

B, LONG = 4, 8  # rows of the first steps and of those after
PHASE = Phase(steps=10, length=8, batch_size=LONG, learning_rate=1e-2, schedule=use("linear", warmup=0))
CONFIG = Config(
    name="poisoned",
    # Steps 1 to 4 take rows 0 to 15 of the text; steps 5 to 10 rows 16 to 63.
    phases=(dataclasses.replace(PHASE, batch_warmup=BatchWarmup(tokens=16 * 8, first=B, increment=LONG - B)),),
    model=Model(
        vocab_size=runs.V, layers=1, width=24, heads=3, mlp_width=48, max_length=8, dropout=0, attention_dropout=0
    ),
    optimizer=use("adamw"),
    guard=Guard(on=True, roll_back_after=2, most_roll_backs=2),
    transforms=(use("average", decay=0.9),),
    checkpoints=Checkpoints(every_steps=3, keep=1),
    log_every=1,
    hooks=(use("plugins.note", every=3),),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store; and a folder where what is compiled serves all runs."""
    folder = tmp_path_factory.mktemp("recipe")
    settings = {"jax_compilation_cache_dir": str(folder), "jax_persistent_cache_min_compile_time_secs": 0}
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield runs.make_recipe(folder).parent / "store"
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


class Killed(BaseException):
    """Ends a run as `kill -9` would, but for the process."""


def run(monkeypatch, folder, store, poison=(), moved=0, kill=0, stop=0, config=CONFIG):
    """Trains. Losses of batches with one of the rows `poison` are not a number.

    Args:
      moved: rows from number 32 on are those so many places later in the text.
      kill, stop: the step after which the process dies, or during which it gets SIGTERM.
    """
    make_mesh = sharding.make_mesh
    open_examples, make_objectives, note = setup.open_examples, setup.make_objectives, train.Progress.__call__
    update = train.Updates.__call__

    class Poisoned:
        def __init__(self, config, store, phase, needs):
            self.examples = open_examples(config, store, phase, needs)
            self.rows, self.length = self.examples.rows, self.examples.length

        def batch(self, first, size):
            first += moved * (first >= 32)
            bad = np.isin(np.arange(first, first + size), poison)
            return self.examples.batch(first, size) | {"poison": bad.astype(np.float32)}

    def poisoned(config, store):
        (objective,) = make_objectives(config, store)

        def loss(params, constants, batch, key):
            total, metrics = objective.loss(params, constants, batch, key)
            return total * jnp.where(batch["poison"].any(), jnp.nan, 1.0), metrics

        return [objective._replace(loss=loss)]

    def step(progress, done):
        note(progress, done)
        if done.step == kill:
            raise Killed

    def updates(self, number, *arguments):
        if number == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(self, number, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(train, "open_examples", Poisoned)
        patch.setattr(sharding, "make_mesh", lambda mesh: make_mesh(mesh, jax.devices()[:1]))
        patch.setattr(train, "make_objectives", poisoned)
        patch.setattr(train.Progress, "__call__", step)
        patch.setattr(train.Updates, "__call__", updates)
        config = dataclasses.replace(config, data=Data(store=str(store)))
        return train.train(config, folder)


def losses(folder):
    return [
        (line["step"], line["loss"], line["learning_rate"])
        for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    ]


def checkpoints(folder):
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir())


def newest(folder):
    return dict(read_run(epath.Path(folder / "checkpoints" / str(checkpoints(folder)[-1])))["checksums"])


POISON = range(34, 41)  # in the batches of steps 7 (rows 32 to 39) and 8 (40 to 47)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory, store):
    """The run that meets the poison and is not interrupted."""
    folder = tmp_path_factory.mktemp("poisoned")
    with pytest.MonkeyPatch.context() as patch:
        run(patch, folder, store, POISON)
    return folder


def test_it_goes_back_and_leaves_out_what_it_read_since(poisoned, store, tmp_path, monkeypatch):
    """Steps 7 and 8 are skipped, so it goes back to step 6; step 7 then takes what step 9 would have taken.

    To the bit it is the run on a text without those 16 rows.
    """
    run(monkeypatch, tmp_path, store, moved=16)
    assert losses(poisoned) == losses(tmp_path)
    assert [step for step, *_ in losses(poisoned)] == list(range(1, 11))
    got, wanted = newest(poisoned), newest(tmp_path)
    assert {name for name in got if got[name] != wanted[name]} == {"roll_backs.done", "roll_backs.skipped_rows"}
    assert (poisoned / "noted.txt").read_text().splitlines() == ["3 3", "6 6", "back to 6", "9 9", "10 10 last"]


def test_interrupted_it_ends_as_the_run_left_alone(poisoned, store, tmp_path, monkeypatch):
    """Killed before it goes back; stopped, with a checkpoint, between the skipped steps; then left alone."""
    for ends in ({"kill": 8}, {"stop": 7}):
        with pytest.raises((Killed, KeyboardInterrupt)):
            run(monkeypatch, tmp_path, store, POISON, **ends)
    assert checkpoints(tmp_path)[-1] == 7
    run(monkeypatch, tmp_path, store, POISON)
    assert losses(tmp_path) == losses(poisoned)
    assert newest(tmp_path) == newest(poisoned)


@pytest.mark.slow
def test_a_poison_without_end_ends_the_run(store, tmp_path, monkeypatch):
    with pytest.raises(TrainingError, match=r"^steps 7 to 8: 2 updates in a row were skipped .* gone back 2 times"):
        run(monkeypatch, tmp_path, store, range(32, 1000))
    assert checkpoints(tmp_path)[-1] == 6


def test_without_a_guard_the_run_ends_at_the_poison(store, tmp_path, monkeypatch):
    """Its last checkpoint is of the step before, and whole; it holds an average, which is what is evaluated."""
    config = dataclasses.replace(CONFIG, guard=Guard(), checkpoints=Checkpoints(every_steps=2, keep=3))
    with pytest.raises(TrainingError, match=r"^step 7: the loss is nan and the gradient norm is nan; checkpoints of"):
        run(monkeypatch, tmp_path, store, POISON, config=config)
    assert checkpoints(tmp_path) == [2, 4, 6]
    _, params, step = restore_params(tmp_path)
    assert step == 6
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_the_average_is_what_is_read(poisoned):
    config, params, _ = restore_params(poisoned)
    folder = epath.Path(poisoned / "checkpoints" / "10")
    state = read_state(folder, abstract_state(config, sharding.make_mesh(config.mesh)), newest(poisoned))
    jax.tree.map(np.testing.assert_array_equal, params, state["transforms"]["average"]["average"])
    assert not np.array_equal(params["mlm_head"]["bias"], state["params"]["mlm_head"]["bias"])


def test_no_checkpoint_knows_of_a_step_that_the_log_lacks(store, tmp_path, monkeypatch):
    """A step is logged one logged step late, but before a checkpoint: killed between the two, a run would lack it."""
    with pytest.raises(Killed):
        run(monkeypatch, tmp_path, store, kill=8, config=dataclasses.replace(CONFIG, log_every=3))
    assert checkpoints(tmp_path)[-1] == 6
    assert [step for step, *_ in losses(tmp_path)] == [1, 3, 6]


def test_rows_of_a_window_that_spans_two_phases():
    config = dataclasses.replace(CONFIG, phases=(*CONFIG.phases, dataclasses.replace(PHASE, batch_size=2)))
    assert rows_between(config, 3, 6) == [4 + 8 + 8, 0]
    assert rows_between(config, 8, 13) == [16, 6]
