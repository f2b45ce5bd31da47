"""Transforms in the train step: what the loss sees, the mesh, checkpoints, skipped updates, what is evaluated."""

import math

import jax
import numpy as np
import pytest
import test_train_step as tiny

import bert_jax
from bert_jax import convert, transforms
from bert_jax.checkpoints.manager import Checkpointer, restore_params
from bert_jax.config import Guard, Mesh
from bert_jax.objectives import mlm
from bert_jax.runtime import sharding
from bert_jax.runtime.trees import flatten
from bert_jax.training.state import abstract_state, init_state
from bert_jax.training.step import jit_train_step
from configuration.variants import ConfigError, use

BOTH = (use("average", decay=0.9), use("prune", sparsity=0.6, begin=0.0, end=0.2, every=2))


def run(config, devices: int, steps: range, state=None):
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:devices])
    update = jit_train_step(config, config.phases[0], mlm.build(config.model, tiny.VOCABULARY), mesh)
    state, losses = init_state(config, mesh) if state is None else state, []
    for step in steps:
        state, metrics = update(state, sharding.put_batch(tiny.make_batch(step), mesh))
        losses.append(float(metrics["loss"]))
    assert update._cache_size() == 1
    return state, losses


@pytest.fixture(scope="module")
def alone():
    return run(tiny.make_config(transforms=BOTH), 1, range(8))


def test_an_average_leaves_the_run_alone_and_pruning_does_not(alone) -> None:
    plain, losses = run(tiny.make_config(), 1, range(8))
    averaged, same = run(tiny.make_config(transforms=BOTH[:1]), 1, range(8))
    assert same == losses
    jax.tree.map(np.testing.assert_array_equal, averaged["params"], plain["params"])
    assert alone[1][:2] == losses[:2]  # the first masks are of the second update
    assert alone[1][3:] != losses[3:]


@pytest.mark.parametrize("mesh", [Mesh(1, 1, 2, 2), pytest.param(Mesh(1, 2, 2, 1), marks=pytest.mark.slow)], ids=str)
def test_their_states_lie_where_the_parameters_do(mesh, alone) -> None:
    config, devices = tiny.make_config(mesh, transforms=BOTH), 4
    laid_out = abstract_state(config, sharding.make_mesh(mesh, jax.devices()[:devices]))
    where = {name: leaf.sharding for name, leaf in flatten(laid_out["params"]).items()}
    average, masks = laid_out["transforms"]["average"]["average"], laid_out["transforms"]["prune"]["masks"]
    assert {name: leaf.sharding for name, leaf in flatten(average).items()} == where
    kernels = {name: leaf.sharding for name, leaf in flatten(masks).items()}
    assert kernels == {name: sharding for name, sharding in where.items() if name.endswith("kernel")}
    assert any("fsdp" in sharding.spec for sharding in kernels.values())
    _, losses = run(config, math.prod((mesh.replica, mesh.data, mesh.fsdp, mesh.tensor)), range(8))
    np.testing.assert_allclose(losses, alone[1], rtol=1e-5)


def test_a_restored_run_goes_on_to_the_bit(tmp_path, alone) -> None:
    config = tiny.make_config(transforms=BOTH)
    state, _ = run(config, 1, range(3))
    with Checkpointer(tmp_path, config.checkpoints) as checkpoints:
        checkpoints.save(3, state, config, "store")
        checkpoints.wait()
        mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
        restored = checkpoints.restore(abstract_state(config, mesh), config, "store")
    state, losses = run(config, 1, range(3, 8), restored)
    assert losses == alone[1][3:]
    for name, value in flatten(state).items():
        np.testing.assert_array_equal(value, flatten(alone[0])[name], err_msg=name)


def test_a_skipped_update_leaves_them_as_they_were() -> None:
    config = tiny.make_config(transforms=BOTH, guard=Guard(on=True, factor=1.0001, grace=2))
    state, last = None, 0
    for step in range(8):
        before = jax.device_get(state and state["transforms"])
        state, _ = run(config, 1, range(step, step + 1), state)
        skipped = int(state["opt_state"].skipped)
        after = jax.device_get(state["transforms"])
        if skipped > last:
            jax.tree.map(np.testing.assert_array_equal, after, before)
        assert after["average"]["averaged"] == after["prune"]["updates"] == step + 1 - skipped
        last = skipped
    assert 0 < last < 8


def test_what_they_make_is_evaluated_and_exported(tmp_path, alone, capsys) -> None:
    config = tiny.make_config(transforms=BOTH)
    with Checkpointer(tmp_path / "run", config.checkpoints) as checkpoints:
        checkpoints.save(8, alone[0], config, "store")
        checkpoints.wait()
    kernel = lambda params: jax.device_get(params["layers"]["mlp"]["up"]["kernel"])
    kept = jax.device_get(alone[0]["transforms"])
    wanted = kernel(kept["average"]["average"]) * kernel(kept["prune"]["masks"])
    np.testing.assert_array_equal(kernel(restore_params(tmp_path / "run")[1]), wanted)
    opened = convert.export(tmp_path / "run", tmp_path / "out")
    assert opened.transforms == ("average", "prune")
    np.testing.assert_array_equal(kernel(bert_jax.load(tmp_path / "out").params), wanted)


def test_wrong_lists_are_named() -> None:
    with pytest.raises(ConfigError, match=r"config.transforms lists average twice"):
        transforms.transforms_of(tiny.make_config(transforms=(use("average"), use("average", decay=0.5))))
    with pytest.raises(ConfigError, match=r"bert_jax.transforms has no variant 'avrage'; did you mean 'average'"):
        transforms.transforms_of(tiny.make_config(transforms=(use("avrage"),)))
