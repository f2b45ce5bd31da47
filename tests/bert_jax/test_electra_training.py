"""ELECTRA as a run: the same on every mesh, resumed to the bit, and its two encoders as files."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest
import safetensors.numpy
import test_train_step as tiny

import bert_jax
from bert_jax import convert
from bert_jax.checkpoints import kept
from bert_jax.checkpoints.manager import Checkpointer
from bert_jax.config import Mesh, use
from bert_jax.formats import folder
from bert_jax.modeling import heads
from bert_jax.modeling.bert import count_parameters
from bert_jax.modeling.parts import together
from bert_jax.objectives import parts_of
from bert_jax.runtime import sharding
from bert_jax.runtime.trees import flatten
from bert_jax.training.state import abstract_state, init_state
from bert_jax.training.step import jit_train_step
from configuration.foreign import FormatError
from configuration.variants import ConfigError, load

ELECTRA = use("electra", generator_size=0.5, generator_layers=1)


def make_config(mesh=None, **changes):
    return tiny.make_config(mesh, **{"objective": ELECTRA, "optimizer": use("adamw"), **changes})


def trained(config, devices: int, steps: int, state=None, first: int = 0):
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:devices])
    objective = load("bert_jax.objectives", config.objective)(config.model, tiny.VOCABULARY)
    update = jit_train_step(config, config.phases[0], objective, mesh)
    state, metrics = init_state(config, mesh) if state is None else state, []
    for step in range(first, first + steps):
        state, found = update(state, sharding.put_batch(tiny.make_batch(step), mesh))
        metrics.append([float(found[name]) for name in ("loss", "mlm_loss", "rtd_loss", "replaced", "detected")])
    return state, metrics


@pytest.fixture(scope="module")
def alone():
    return trained(make_config(), devices=1, steps=4)


@pytest.mark.parametrize("mesh", [Mesh(1, 1, 2, 2), pytest.param(Mesh(1, 4, 1, 1), marks=pytest.mark.slow)], ids=str)
def test_it_trains_alike_on_every_mesh(mesh, alone) -> None:
    _, metrics = trained(make_config(mesh), math.prod(dataclasses.astuple(mesh)), steps=4)
    np.testing.assert_allclose(metrics, alone[1], rtol=1e-5)
    assert metrics[-1][0] < metrics[0][0]


@pytest.mark.slow
def test_microbatches_do_not_depend_on_the_mesh() -> None:
    """Dropout and guesses are those of the rows' numbers in the whole batch."""
    phase = dataclasses.replace(tiny.PHASE, microbatches=2)
    _, alone = trained(make_config(phases=(phase,)), devices=1, steps=4)
    _, metrics = trained(make_config(Mesh(2, 2, 1, 1), phases=(phase,)), devices=4, steps=4)
    np.testing.assert_allclose(metrics, alone, rtol=1e-5)


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


def test_a_mesh_that_cannot_split_the_generator_is_named() -> None:
    config = make_config(Mesh(1, 1, 1, 4))
    with pytest.raises(ConfigError, match=r"config.mesh.tensor is 4, which does not divide 2, an axis of generator/"):
        abstract_state(config, sharding.make_mesh(config.mesh, jax.devices()[:4]))


def test_parameters_are_counted_without_the_vocabularys_padding() -> None:
    config = make_config()
    padded = sum(x.size for x in jax.tree.leaves(abstract_state(config, sharding.make_mesh(Mesh()))["params"]))
    missing = tiny.MODEL.padded_vocab_size - tiny.V
    # In the word embeddings of both, and in the bias of the generator's head.
    assert count_parameters(config.model, parts_of(config)) == padded - missing * (tiny.MODEL.width + 1)


def test_both_encoders_are_exported(tmp_path, alone, capsys) -> None:
    config = make_config()
    with Checkpointer(tmp_path / "run", config.checkpoints) as checkpoints:
        checkpoints.save(4, alone[0], config, "store")
        checkpoints.wait()
    convert.export(tmp_path / "run", tmp_path / "discriminator")
    assert "left out: generator; --part=generator writes it" in capsys.readouterr().err
    convert.export(tmp_path / "run", tmp_path / "generator", part="generator")
    kinds = {"discriminator": "ElectraForPreTraining", "generator": "ElectraForMaskedLM"}
    for name, kind in kinds.items():
        assert json.loads((tmp_path / name / "config.json").read_text())["architectures"] == [kind]
    params = jax.device_get(alone[0]["params"])
    written = safetensors.numpy.load_file(tmp_path / "generator/model.safetensors")
    np.testing.assert_array_equal(
        written["electra.embeddings_project.weight"], params["generator"]["projection"]["kernel"].T
    )
    generator = bert_jax.load(tmp_path / "generator")
    assert generator.config.width == tiny.MODEL.width // 2
    assert generator(tiny.make_batch(0)["tokens"].astype(np.int32))["logits"].shape == (tiny.B, tiny.L, tiny.V)
    with pytest.raises(FormatError, match=r"--part=generatr is no encoder .* did you mean 'generator'"):
        convert.export(tmp_path / "run", tmp_path / "other", part="generatr")
    assert not (tmp_path / "other").exists()
    assert folder.read(tmp_path / "run").encoders.keys() == {"generator"}


def test_heads_of_the_encoder_it_started_from_do_not_hinder_its_export(tmp_path, alone, capsys) -> None:
    config = make_config()
    with Checkpointer(tmp_path / "run", config.checkpoints) as checkpoints:
        checkpoints.save(4, alone[0], config, "store")
        checkpoints.wait()
        parts = together(heads.parts(tiny.MODEL, "mlm_head", "pooler")).init(jax.random.key(0))
        kept.write(checkpoints.folder, jax.device_get(parts))
    convert.export(tmp_path / "run", tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text())["architectures"] == ["ElectraForPreTraining"]
    assert "left out: pooler; no class in PyTorch's layout has it too" in capsys.readouterr().err


def test_the_generators_head_starts_at_the_shares_of_the_tokens() -> None:
    counts = np.arange(tiny.V)
    config = make_config(unigram_bias=True)
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
    params = jax.device_get(init_state(config, mesh, counts)["params"])
    wanted = np.log((counts + 1) / (counts + 1).sum())
    bias = params["generator"]["mlm_head"]["bias"]
    np.testing.assert_allclose(bias[: tiny.V], wanted, rtol=1e-5)
    assert not bias[tiny.V :].any()
    both = init_state(make_config(unigram_bias=True, objective=use("replace_mlm", generator_size=0.5)), mesh, counts)
    for head in (both["params"]["mlm_head"], both["params"]["generator"]["mlm_head"]):
        np.testing.assert_allclose(head["bias"][: tiny.V], wanted, rtol=1e-5)
    without = make_config(unigram_bias=True, objective=use("plugins.taught"))
    with pytest.raises(ConfigError, match=r"config.objective plugins.taught has no MLM head"):
        init_state(without, mesh, counts)
