"""An objective outside the package, with all that one may bring, in every part of training."""

import dataclasses
import math

import jax
import numpy as np
import pytest
import safetensors.numpy
import test_train_step as tiny

import bert_jax
from bert_jax import convert
from bert_jax.checkpoints.manager import Checkpointer
from bert_jax.config import Mesh, use
from bert_jax.modeling import bert
from bert_jax.objectives import parts_of
from bert_jax.runtime import sharding
from bert_jax.runtime.trees import flatten
from bert_jax.training.optimizers import lamb
from bert_jax.training.state import abstract_state, init_state
from bert_jax.training.step import jit_train_step
from configuration import flags as config_flags
from configuration.variants import ConfigError, load

LAYERS = 3
OWN = use("plugins.second_stack", layers=LAYERS)
LAMB = use("lamb", variant="albert", exclude=("bias", "scale", "temperature"))


def make_config(mesh=None, **changes):
    return tiny.make_config(mesh, objective=OWN, optimizer=LAMB, **changes)


def rows(step: int) -> dict[str, np.ndarray]:
    batch = tiny.make_batch(step)
    return batch | {"importance": np.random.default_rng(step).uniform(size=batch["tokens"].shape).astype(np.float32)}


def trained(config, devices: int, steps: int, state=None, first: int = 0):
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:devices])
    objective = load("bert_jax.objectives", config.objective)(config.model, tiny.VOCABULARY)
    update = jit_train_step(config, config.phases[0], objective, mesh)
    constants = jax.device_put(objective.constants, sharding.everywhere(mesh))
    state, metrics = init_state(config, mesh) if state is None else state, []
    for step in range(first, first + steps):
        state, found = update(state, sharding.put_batch(rows(step), mesh), constants)
        metrics.append((float(found["loss"]), float(found["taught"])))
    return state, metrics


@pytest.fixture(scope="module")
def alone():
    return trained(make_config(), devices=1, steps=4)


@pytest.mark.parametrize(
    ("mesh", "microbatches"),
    [
        (Mesh(1, 1, 2, 2), 1),
        pytest.param(Mesh(2, 2, 1, 1), 1, marks=pytest.mark.slow),
        pytest.param(Mesh(1, 2, 2, 2), 1, marks=[pytest.mark.slow, tiny.EIGHT]),
        pytest.param(Mesh(1, 4, 2, 1), 1, marks=[pytest.mark.slow, tiny.EIGHT]),
    ],
    ids=str,
)
def test_it_trains_alike_on_every_mesh(mesh, microbatches, alone) -> None:
    phase = dataclasses.replace(tiny.PHASE, microbatches=microbatches)
    _, metrics = trained(make_config(mesh, phases=(phase,)), math.prod(dataclasses.astuple(mesh)), steps=4)
    np.testing.assert_allclose(metrics, alone[1], rtol=1e-5)
    assert metrics[-1][1] < metrics[0][1]


def test_it_resumes_to_the_bit(tmp_path, alone) -> None:
    config = make_config()
    state, _ = trained(config, devices=1, steps=2)
    with Checkpointer(tmp_path, config.checkpoints) as checkpoints:
        checkpoints.save(2, state, config, "store")
        checkpoints.wait()
        mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
        restored = checkpoints.restore(abstract_state(config, mesh), config, "store")
    state, metrics = trained(config, devices=1, steps=2, state=restored, first=2)
    assert metrics == alone[1][2:]
    for name, value in flatten(state).items():
        np.testing.assert_array_equal(value, flatten(alone[0])[name], err_msg=name)


def test_the_teacher_is_neither_trained_nor_saved(alone) -> None:
    shapes = {tuple(x.shape) for x in jax.tree.leaves(alone[0])}
    assert (tiny.V, tiny.MODEL.width) not in shapes  # the word embeddings are padded to a multiple of 128


def test_each_layer_of_both_stacks_has_a_trust_ratio_of_its_own(alone) -> None:
    params = jax.device_get(alone[0]["params"])
    gradients = jax.tree.map(lambda x: 1e-3 * np.random.default_rng(0).normal(size=x.shape).astype(np.float32), params)
    state = lamb.build(lambda _: 1e-2).init(params)
    ratios = lamb.statistics(gradients, state, params, **LAMB.options)["trust_ratio"]
    for stack, number in ((ratios["layers"], tiny.MODEL.layers), (ratios["second"]["layers"], LAYERS)):
        kernels = [ratio for name, ratio in flatten(stack).items() if name.endswith("kernel")]
        assert kernels
        assert all(ratio.shape == (number,) and len(set(ratio.tolist())) == number for ratio in kernels)
    assert ratios["second"]["temper"]["temperature"] == 1


def test_it_is_exported_under_its_own_names(tmp_path, alone) -> None:
    config = make_config()
    with Checkpointer(tmp_path / "run", config.checkpoints) as checkpoints:
        checkpoints.save(4, alone[0], config, "store")
        checkpoints.wait()
    convert.export(tmp_path / "run", tmp_path / "out")
    written = safetensors.numpy.load_file(tmp_path / "out/model.safetensors")
    kernels = jax.device_get(alone[0]["params"]["second"]["layers"]["dense"]["kernel"])
    for layer in range(LAYERS):
        np.testing.assert_array_equal(written[f"second.layer.{layer}.dense.weight"], kernels[layer].T)
    assert written["second.temperature"].shape == (1,)
    encoder = bert_jax.load(tmp_path / "out")
    ours = bert_jax.load(tmp_path / "run")
    tokens = tiny.make_batch(0)["tokens"].astype(np.int32)
    np.testing.assert_allclose(encoder(tokens)["logits"], ours(tokens)["logits"], atol=1e-5)


def test_its_parts_are_those_of_the_options() -> None:
    params = bert.abstract_params(tiny.MODEL, parts_of(make_config()))
    assert params["second"]["layers"]["dense"]["kernel"].shape == (LAYERS, 24, 24)
    with pytest.raises(
        ConfigError, match=r"'plugins.third', to stand beside the variants of bert_jax.objectives, cannot be imported"
    ):
        parts_of(tiny.make_config(objective=use("plugins.third")))


def test_a_masking_of_ones_own() -> None:
    """One file outside the package, named with its options in the objective's."""
    config = tiny.make_config(objective=use("mlm", masking=use("plugins.every_other", first=1)))
    objective = load("bert_jax.objectives", config.objective)(config.model, tiny.VOCABULARY)
    batch = tiny.make_batch(0)
    out = jax.device_get(objective.corrupt(batch, jax.random.key(0)))
    text = np.flatnonzero(batch["segments"][0])
    predicted = out["target_positions"][0][out["target_weights"][0] > 0]
    np.testing.assert_array_equal(predicted, text[1::2][: len(predicted)])
    assert len(predicted) == 6


def test_nested_variants_from_the_command_line() -> None:
    plain = tiny.make_config()
    given = {"objective.masking": "plugins.every_other", "objective.masking.first": "3"}
    for options in (given, {"objective": "mlm"} | given):
        config = config_flags.override(plain, options)
        again = config_flags.from_dict(type(config), config_flags.to_dict(config))
        for each in (config, again):
            objective = load("bert_jax.objectives", each.objective)(each.model, tiny.VOCABULARY)
            assert objective.corrupt(tiny.make_batch(0), jax.random.key(0))["target_positions"][0, 0] == 3
