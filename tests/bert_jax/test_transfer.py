"""Layer-wise decay, frozen and fresh layers, on real updates of a fine-tuning run."""

import dataclasses

import jax
import numpy as np
import pytest
from test_finetune import MODEL, VOCABULARY, files, opened, tuning  # noqa: F401  files is a fixture

import bert_jax
from bert_jax import finetune
from bert_jax.config import Transfer
from bert_jax.modeling.bert import PARTS
from bert_jax.runtime import sharding
from bert_jax.runtime.trees import flatten
from bert_jax.training import transfer
from bert_jax.training.state import init_state
from bert_jax.training.step import jit_train_step
from configuration.variants import ConfigError, load

PLAIN = {"dropout": 0.0, "attention_dropout": 0.0}


def updated(files, tmp_path, steps, **changes):  # noqa: F811
    """The parameters before and after some updates."""
    data, config, objective, state = opened(files, tmp_path, "classification", **PLAIN, **changes)
    mesh = sharding.make_mesh(config.mesh)
    before = jax.device_get(state["params"])
    update, size = jit_train_step(config, config.phases[0], objective, mesh), config.phases[0].batch_size
    rows = data.rows("train", seed=1)
    for step in range(steps):
        state, _ = update(state, sharding.put_batch(rows.batch(step * size, size), mesh), ())
    return before, jax.device_get(state["params"])


def test_each_layer_learns_at_its_rate(files, tmp_path) -> None:  # noqa: F811
    """Two updates, the first at a rate of 0: the moments are the same, so that the steps differ by the factors."""
    before, plain = updated(files, tmp_path, 2)
    _, slower = updated(files, tmp_path, 2, transfer=Transfer(layer_decay=0.5))
    wanted = {"sequence_head": 1.0, "pooler": 1.0, "embeddings": 0.5**3}
    for name, start in flatten(before).items():
        step, other = (np.asarray(flatten(x)[name]) - start for x in (plain, slower))
        factor = wanted.get(name.split(".")[0])
        if factor is None:  # of two layers
            factor = np.array([0.5**2, 0.5]).reshape(-1, *[1] * (start.ndim - 1))
        assert np.abs(step).max() > 0
        np.testing.assert_allclose(other, factor * step, atol=2e-7, err_msg=name)


def test_frozen_layers_stay_to_the_bit(files, tmp_path) -> None:  # noqa: F811
    before, after = updated(files, tmp_path, 3, transfer=Transfer(frozen_layers=1))
    for name, start in flatten(before).items():
        found, part = flatten(after)[name], name.split(".")[0]
        if part == "embeddings":
            np.testing.assert_array_equal(found, start, err_msg=name)
        elif part == "layers":
            np.testing.assert_array_equal(found[0], start[0], err_msg=name)
            assert np.abs(found[1] - start[1]).max() > 0
        else:
            assert np.abs(found - start).max() > 0


def test_fresh_layers_are_the_highest(files, tmp_path) -> None:  # noqa: F811
    asked = tuning(files, transfer=Transfer(fresh_layers=1))
    config = finetune.config_of(asked, finetune.opened(asked, tmp_path)[0])
    given = bert_jax.load(files / "encoder").params
    mesh = sharding.make_mesh(config.mesh)
    parts = {name: given[name] for name in ("embeddings", "layers", "pooler")}
    found = jax.device_get(init_state(config, mesh, imported=parts)["params"])
    fresh = jax.device_get(init_state(config, mesh)["params"])
    for part in PARTS:
        for path, own in flatten(found["layers"][part]).items():
            old, new = flatten(given["layers"][part])[path], flatten(fresh["layers"][part])[path]
            np.testing.assert_array_equal(own[0], old[0])
            np.testing.assert_array_equal(own[1], new[1])
    assert np.abs(found["layers"]["mlp"]["up"]["kernel"][1] - given["layers"]["mlp"]["up"]["kernel"][1]).max() > 0


@pytest.mark.parametrize(
    ("wanted", "model", "message"),
    [
        ({"frozen_layers": 3}, {}, "config.transfer.frozen_layers is 3; the model has 2 layers"),
        ({"layer_decay": 0.9}, {"sharing": "all"}, "the layers share weights"),
        ({"layer_decay": 0.0}, {}, "transfer.layer_decay is 0.0; it must be above 0, and at most 1"),
        ({"fresh_layers": -1}, {}, r"transfer.fresh_layers is -1; it must be 0 \(none\) or more"),
    ],
)
def test_what_cannot_be(files, tmp_path, wanted, model, message) -> None:  # noqa: F811
    config = finetune.config_of(tuning(files), finetune.opened(tuning(files), tmp_path)[0])
    with pytest.raises(ConfigError, match=message):  # noqa: PT012  either of both
        config = dataclasses.replace(config, transfer=Transfer(**wanted), model=dataclasses.replace(MODEL, **model))
        transfer.check(config)
    load("bert_jax.objectives", config.objective)(config.model, VOCABULARY)


def test_training_ends_early_on_the_dev_metric(files, tmp_path) -> None:  # noqa: F811
    """At a rate that teaches nothing no evaluation is better than the first, higher being better."""
    asked = tuning(files, epochs=20, evaluations=10, patience=2, learning_rate=1e-12)
    figures = finetune.finetune(asked, tmp_path)["seeds"][0]
    config = finetune.config_of(asked, finetune.opened(asked, tmp_path)[0])
    assert config.best_mode == "max"
    assert figures["trained_steps"] == 3 * config.eval_every < config.steps
    assert figures["step"] == config.eval_every
