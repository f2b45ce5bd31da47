"""Several objectives in one run: their losses add, their turns are exact, and each is what it is alone."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import test_train_step as tiny

import bert_jax
from bert_jax import convert
from bert_jax.checkpoints.manager import Checkpointer
from bert_jax.config import Config, Mesh
from bert_jax.modeling import bert
from bert_jax.objectives import encoders_of, exported_names, parts_of
from bert_jax.runtime import sharding
from bert_jax.runtime.trees import flatten
from bert_jax.training.state import abstract_state, init_state
from bert_jax.training.step import accumulate, jit_train_step, moment
from configuration import flags as config_flags
from configuration.variants import ConfigError, load, use

MLM, STATIC = use("mlm", mask_rate=0.3), use("mlm_static")
ELECTRA = use("electra", generator_size=0.5, generator_layers=1)
PAIR = use("mlm_pair", masking=use("whole_words"))
PLAIN = dataclasses.replace(tiny.MODEL, dropout=0.0, attention_dropout=0.0)
ADAMW = use("adamw")


def mixture(*objectives, **options):
    return use("mixture", objectives=objectives, **options)


def rows(step: int) -> dict[str, np.ndarray]:
    batch, rng = tiny.make_batch(step), np.random.default_rng(step)
    starts = rng.random(batch["tokens"].shape) < 0.7
    return batch | {"word_starts": starts, "pair_label": rng.integers(0, 2, tiny.B).astype(np.int32)}


def built(objective, model=PLAIN):
    return load("bert_jax.objectives", objective)(model, tiny.VOCABULARY)


def params_of(objective, model=PLAIN):
    return bert.init(model, jax.random.key(0), parts_of(tiny.make_config(model=model, objective=objective)))


def gradients(objective, params, key=1, model=PLAIN, parts=1):
    """Gradients and metrics of one batch."""
    objective = built(objective, model)
    batch = jax.jit(objective.corrupt)(rows(3), jax.random.key(key))
    step = jax.jit(accumulate, static_argnums=(0, 5))
    constants = objective.constants
    return jax.device_get(step(objective, params, constants, batch, jax.random.key(5), parts))


def assert_same(one, other, rtol=1e-5):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=2e-6 * float(np.abs(b).max()) + 1e-8)


@pytest.mark.parametrize("objective", [MLM, ELECTRA], ids=lambda each: each.name)
@pytest.mark.parametrize("shares", [(), (2,)])
def test_one_objective_alone_is_itself(objective, shares):
    params = params_of(objective, tiny.MODEL)
    alone, metrics = gradients(objective, params, model=tiny.MODEL)
    mixed, named = gradients(mixture(objective, shares=shares), params, model=tiny.MODEL)
    assert_same(mixed, alone, rtol=1e-6)
    for name, value in metrics.items():
        np.testing.assert_allclose(named[f"{objective.name}_{name}"], value, rtol=1e-6)
    assert named["loss"] == metrics["loss"]


def test_losses_and_gradients_add_with_their_weights():
    both = lambda *weights: mixture(MLM, PAIR, ELECTRA, weights=weights)
    params = params_of(both(1.0, 1.0, 1.0))
    total, metrics = gradients(both(0.5, 2.0, 3.0), params)
    losses = [metrics["mlm_loss"], metrics["mlm_pair_loss"], metrics["electra_loss"]]
    np.testing.assert_allclose(metrics["loss"], np.dot([0.5, 2.0, 3.0], losses), rtol=1e-5)
    each = [gradients(both(*row), params)[0] for row in np.eye(3).tolist()]
    wanted = jax.tree.map(lambda a, b, c: 0.5 * a + 2.0 * b + 3.0 * c, *each)
    assert_same(total, wanted, rtol=1e-4)


def test_each_has_its_own_draw_and_its_own_weights_over_the_global_batch():
    objective = built(mixture(MLM, use("mlm", mask_rate=0.1)))
    batch = jax.device_get(objective.corrupt(rows(0), jax.random.key(0)))
    first, second = batch["target_weights"], batch["1.target_weights"]
    assert first.shape != second.shape
    for weights in (first, second):
        np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)
    assert "1.segments" not in batch
    assert (batch["tokens"] != batch["1.tokens"]).any()


@pytest.mark.parametrize("shares", [(), (1, 2)])
def test_microbatches_equal_one_batch(shares):
    objective = mixture(MLM, ELECTRA, shares=shares)
    params = params_of(objective)
    whole, sums = gradients(objective, params)
    in_parts, part_sums = gradients(objective, params, parts=4)
    assert_same(in_parts, whole, rtol=1e-4)
    assert_same(part_sums, sums, rtol=1e-4)


def make_config(mesh=None, objective=None, **changes):
    phase = dataclasses.replace(tiny.PHASE, steps=6)
    objective = objective or mixture(MLM, ELECTRA, shares=(2, 1))
    config = tiny.make_config(mesh, **{"objective": objective, "optimizer": ADAMW, "phases": (phase,) * 2, **changes})
    return config


def trained(config, devices: int, steps: int, state=None, first: int = 0):
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:devices])
    objective = built(config.objective, config.model)
    update = jit_train_step(config, config.phases[0], objective, mesh)
    state, metrics = init_state(config, mesh) if state is None else state, []
    for step in range(first, first + steps):
        state, found = update(state, sharding.put_batch(rows(step), mesh), objective.constants)
        metrics.append({name: float(x) for name, x in jax.device_get(found).items()})
    assert update._cache_size() == 1
    return state, metrics


@pytest.fixture(scope="module")
def alone():
    return trained(make_config(), devices=1, steps=12)


def test_turns_are_exact_in_every_stretch_and_their_losses_their_own(alone):
    _, metrics = alone
    for line in metrics:
        np.testing.assert_allclose(line["mlm_turn"] + line["electra_turn"], 1, rtol=1e-6)
        now, other = ("electra", "mlm") if line["electra_turn"] > 0.5 else ("mlm", "electra")
        assert line["loss"] == pytest.approx(line[f"{now}_loss"], rel=1e-6)
        assert math.isnan(line[f"{other}_loss"])
    order = [round(line["electra_turn"]) for line in metrics]
    assert [sum(order[first : first + 3]) for first in range(0, 12, 3)] == [1] * 4


def test_the_order_of_turns_depends_on_the_seed_alone():
    config = make_config(objective=mixture(MLM, STATIC, shares=(5, 3)))
    corrupt = built(config.objective).corrupt

    def order(seed: int) -> list[int]:
        at = lambda step: {"moment": moment(dataclasses.replace(config, seed=seed), jnp.int32(step))}
        drawn = [corrupt(rows(0) | at(step), jax.random.key(step))["turns"][0] for step in range(8)]
        return [int(each.argmax()) for each in drawn]

    assert sum(order(0)) == sum(order(1)) == 3
    assert order(0) != order(1)
    assert order(0) == order(0)


def test_parts_without_a_turn_stay_as_they_are():
    config = make_config(objective=mixture(MLM, ELECTRA, shares=(1, 0)))
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
    before = flatten(jax.device_get(init_state(config, mesh)["params"]))
    after = flatten(jax.device_get(trained(config, devices=1, steps=3)[0]["params"]))
    moved = {name.split(".")[0] for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {"embeddings", "layers", "mlm_head"}


@pytest.mark.parametrize(
    "mesh",
    [
        Mesh(1, 1, 2, 2),
        pytest.param(Mesh(2, 2, 1, 1), marks=pytest.mark.slow),
        pytest.param(Mesh(1, 2, 2, 2), marks=[pytest.mark.slow, tiny.EIGHT]),
        pytest.param(Mesh(1, 8, 1, 1), marks=[pytest.mark.slow, tiny.EIGHT]),
    ],
    ids=str,
)
def test_it_trains_alike_on_every_mesh(mesh, alone):
    _, metrics = trained(make_config(mesh), math.prod(dataclasses.astuple(mesh)), steps=4)
    losses = lambda lines: [line["loss"] for line in lines]
    np.testing.assert_allclose(losses(metrics), losses(alone[1][:4]), rtol=1e-5)


def test_it_resumes_to_the_bit_within_a_stretch_of_turns(tmp_path, alone):
    config = make_config()
    state, _ = trained(config, devices=1, steps=7)
    with Checkpointer(tmp_path, config.checkpoints) as checkpoints:
        checkpoints.save(7, state, config, "store")
        checkpoints.wait()
        mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
        restored = checkpoints.restore(abstract_state(config, mesh), config, "store")
    state, metrics = trained(config, devices=1, steps=5, state=restored, first=7)
    assert [line["loss"] for line in metrics] == [line["loss"] for line in alone[1][7:]]
    for name, value in flatten(state).items():
        np.testing.assert_array_equal(value, flatten(alone[0])[name], err_msg=name)


def test_evaluation_has_all_objectives_by_their_shares():
    objective = mixture(MLM, PAIR, shares=(3, 1), weights=(1.0, 2.0))
    _, metrics = gradients(objective, params_of(objective))
    wanted = (3 * metrics["mlm_loss"] + 1 * 2 * metrics["mlm_pair_loss"]) / 4
    np.testing.assert_allclose(metrics["loss"], wanted, rtol=1e-6)


def test_rows_of_each_objective_have_its_task_embedding():
    model = dataclasses.replace(PLAIN, task_types=2)
    objective = mixture(MLM, STATIC)
    params = params_of(objective, model)
    found, _ = gradients(objective, params, model=model)
    table = found["embeddings"]["task_type"]["embedding"]
    assert (np.abs(table).sum(1) > 0).all()
    only_first, _ = gradients(mixture(MLM, STATIC, weights=(1.0, 0.0)), params, model=model)
    assert (np.abs(only_first["embeddings"]["task_type"]["embedding"]).sum(1) > 0).tolist() == [True, False]


def test_parts_encoders_and_names_are_those_of_all():
    config = make_config(objective=mixture(use("plugins.second_stack", layers=2), ELECTRA, PAIR))
    parts = parts_of(config)
    assert set(parts) == {"mlm_head", "second", "discriminator_head", "generator", "pooler", "pair_head"}
    params = bert.init(config.model, jax.random.key(0), parts)
    assert set(encoders_of(config, params)) == {"generator"}
    assert "second/temper/temperature" in exported_names(config)
    needs = built(config.objective, config.model).needs
    assert set(needs) == {"importance", "word_starts", "pair_label"}


def test_a_mixture_in_json_and_on_the_command_line():
    config = make_config(objective=mixture(MLM, PAIR, shares=(2, 1)))
    assert config_flags.from_dict(Config, config_flags.to_dict(config)) == config
    given = {
        "objective": "mixture",
        "objective.objectives": "mlm,electra",
        "objective.objectives.0.masking": "spans",
        "objective.objectives.0.masking.p": "0.3",
        "objective.objectives.1.generator_size": "0.5",
        "objective.weights": "[1, 0.5]",
    }
    changed = config_flags.override(config, given).objective
    first = use("mlm", masking=use("spans", p=0.3))
    assert changed == mixture(first, use("electra", generator_size=0.5), weights=(1, 0.5))
    assert set(parts_of(dataclasses.replace(config, objective=changed))) == {
        "mlm_head",
        "discriminator_head",
        "generator",
    }


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, "config.objective.objectives is"),
        ({"objectives": (MLM,), "weights": (1.0, 2.0)}, r"config.objective.weights is \(1.0, 2.0\)"),
        ({"objectives": (MLM,), "weights": (-1.0,)}, "config.objective.weights is"),
        ({"objectives": (MLM, STATIC), "shares": (1,)}, r"config.objective.shares is \(1,\)"),
        ({"objectives": (MLM, STATIC), "shares": (0.5, 0.5)}, "2 whole numbers from 0 on"),
        ({"objectives": (use("mln"),)}, "no variant 'mln'; did you mean 'mlm'"),
    ],
    ids=str,
)
def test_options_that_make_no_mixture(options, error):
    with pytest.raises(ConfigError, match=error):
        built(use("mixture", **options))


def test_fewer_task_embeddings_than_objectives():
    with pytest.raises(ConfigError, match=r"config.model.task_types is 1; 2 objectives need as many, or 0"):
        built(mixture(MLM, STATIC), dataclasses.replace(PLAIN, task_types=1))


def test_it_is_exported_with_its_task_embeddings_and_heads(tmp_path):
    model = dataclasses.replace(tiny.MODEL, task_types=3, activation="relu")
    objective = mixture(MLM, use("token_document"), use("sentence_reordering", most=2), shares=(2, 1, 1))
    config = make_config(objective=objective, model=model)
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
    state = init_state(config, mesh)
    with Checkpointer(tmp_path / "run", config.checkpoints) as checkpoints:
        checkpoints.save(1, state, config, "store")
        checkpoints.wait()
    convert.export(tmp_path / "run", tmp_path / "out")
    written = safetensors.numpy.load_file(tmp_path / "out/model.safetensors")
    params = jax.device_get(state["params"])
    for name in ("document_head", "order_head"):
        np.testing.assert_array_equal(written[f"{name}.weight"], params[name]["kernel"].T)
    table = written["ernie.embeddings.task_type_embeddings.weight"]
    np.testing.assert_array_equal(table, params["embeddings"]["task_type"]["embedding"])
    encoder, ours = bert_jax.load(tmp_path / "out"), bert_jax.load(tmp_path / "run")
    tokens = tiny.make_batch(0)["tokens"].astype(np.int32)
    np.testing.assert_allclose(encoder(tokens)["logits"], ours(tokens)["logits"], atol=1e-5)
