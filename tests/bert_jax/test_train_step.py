"""The update: accumulation, clipping, the mesh's independence, and that it learns."""

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.config import Config, Guard, Mesh, Model, Phase
from bert_jax.objectives import Vocabulary, mlm, normalized
from bert_jax.runtime import sharding
from bert_jax.training import state_sharding
from bert_jax.training.state import abstract_state, init_state, learning_rate, phase_at
from bert_jax.training.step import accumulate, clipped, jit_train_step, make_train_step
from configuration.variants import ConfigError, load, use

V, L, B = 101, 37, 8
VOCABULARY = Vocabulary(size=V, pad=0, cls=2, sep=3, mask=4)
MODEL = Model(vocab_size=V, layers=2, width=24, heads=4, mlp_width=48, max_length=L, dropout=0.1, attention_dropout=0.1)
PHASE = Phase(steps=30, length=L, batch_size=B, learning_rate=1e-2, schedule=use("linear", warmup=2))


def make_config(mesh: Mesh | None = None, **changes: object) -> Config:
    return dataclasses.replace(Config("test", (PHASE,), model=MODEL, mesh=mesh or Mesh()), **changes)


def make_batch(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    segments = np.sort(rng.integers(1, 4, (B, L)), axis=1).astype(np.int32)
    segments[0, 20:] = 0
    return {
        "tokens": np.where(segments > 0, rng.integers(5, V, (B, L)), 0).astype(np.uint16),
        "segments": segments,
        "positions": np.broadcast_to(np.arange(L, dtype=np.int32), (B, L)).copy(),
        "token_types": np.zeros((B, L), np.int32),
    }


def run(config: Config, devices: int, steps: int) -> tuple[dict, list[float]]:
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:devices])
    objective = mlm.build(config.model, VOCABULARY)
    state = init_state(config, mesh)
    update = jit_train_step(config, config.phases[0], objective, mesh)
    losses = []
    for step in range(steps):
        state, metrics = update(state, sharding.put_batch(make_batch(step), mesh))
        losses.append(float(metrics["loss"]))
    assert update._cache_size() == 1  # one compilation
    return jax.device_get(state), losses


def splits(devices: int) -> list[Mesh]:
    sizes = [s for s in itertools.product([1, 2, 4, 8], repeat=4) if np.prod(s) == devices and MODEL.heads % s[3] == 0]
    return [Mesh(*s) for s in sizes]


@pytest.fixture(scope="module")
def alone() -> tuple[dict, list[float]]:
    return run(make_config(), devices=1, steps=10)


QUICK = (Mesh(1, 1, 2, 2),)  # both axes that split weights; the rest are slow
EIGHT = pytest.mark.skipif(jax.device_count() < 8, reason="DEVICES=8 pytest -m slow tests/bert_jax/test_train_step.py")


@pytest.mark.parametrize(
    "mesh",
    [
        *QUICK,
        *(pytest.param(mesh, marks=pytest.mark.slow) for mesh in [*splits(2), *splits(4)] if mesh not in QUICK),
        *(pytest.param(mesh, marks=[pytest.mark.slow, EIGHT]) for mesh in splits(8)),
    ],
    ids=lambda mesh: f"replica {mesh.replica} data {mesh.data} fsdp {mesh.fsdp} tensor {mesh.tensor}",
)
def test_every_split_of_the_mesh_gives_the_same_run(mesh: Mesh, alone: tuple[dict, list[float]]) -> None:
    state, losses = run(make_config(mesh), devices=math.prod(dataclasses.astuple(mesh)), steps=10)
    np.testing.assert_allclose(losses, alone[1], rtol=1e-5)
    assert state["step"] == 10


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [Mesh(2, 2, 1, 1), Mesh(1, 2, 2, 1), Mesh(1, 2, 1, 2), Mesh(1, 1, 4, 1)], ids=str)
def test_microbatches_do_not_depend_on_the_mesh(mesh: Mesh) -> None:
    """Dropout is on: its masks are those of the rows' numbers in the whole batch."""
    phase = dataclasses.replace(PHASE, microbatches=2)
    _, alone = run(make_config(phases=(phase,)), devices=1, steps=4)
    _, losses = run(make_config(mesh, phases=(phase,)), devices=4, steps=4)
    np.testing.assert_allclose(losses, alone, rtol=1e-5)


@pytest.mark.slow
def test_guard_and_average_on_a_split_mesh_leave_the_run_alone(alone: tuple[dict, list[float]]) -> None:
    mesh = Mesh(data=1, fsdp=2, tensor=2)
    config = make_config(mesh, guard=Guard(on=True), transforms=(use("average", decay=0.9),))
    state, losses = run(config, devices=4, steps=10)
    np.testing.assert_allclose(losses, alone[1], rtol=1e-5)
    average = state["transforms"]["average"]["average"]
    assert jax.tree.structure(average) == jax.tree.structure(state["params"])


@pytest.mark.parametrize("parts", [pytest.param(2, marks=pytest.mark.slow), 4, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize("objective", ["mlm", "mlm_pair", "electra"])
def test_microbatches_equal_one_batch(objective: str, parts: int) -> None:
    """Every term of the loss, though rows have different numbers of predictions."""
    model = dataclasses.replace(MODEL, dropout=0.0, attention_dropout=0.0)
    config = make_config(model=model, objective=use(objective))
    built = load("bert_jax.objectives", config.objective)(model, VOCABULARY)
    params = init_state(config, sharding.make_mesh(Mesh(), jax.devices()[:1]))["params"]
    rows = make_batch(3)
    rows["pair_label"] = np.arange(len(rows["tokens"]), dtype=np.int32) % 2
    batch = built.corrupt(rows, jax.random.key(0))
    gradients = jax.jit(accumulate, static_argnums=(0, 5))
    whole, sums = gradients(built, params, (), batch, jax.random.key(1), 1)
    in_parts, part_sums = gradients(built, params, (), batch, jax.random.key(1), parts)
    assert len({int(w) for w in (batch["target_weights"] > 0).sum(1)}) > 1  # rows of unequal weight
    for name, value in sums.items():
        np.testing.assert_allclose(part_sums[name], value, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(in_parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6 * float(jnp.abs(b).max()) + 1e-7)


@pytest.mark.slow
def test_it_learns_one_batch_by_heart() -> None:
    phase = dataclasses.replace(PHASE, steps=60, learning_rate=5e-3)
    model = dataclasses.replace(MODEL, dropout=0.0, attention_dropout=0.0)
    config = make_config(model=model, phases=(phase,), optimizer=use("adamw"))
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
    update = jit_train_step(config, phase, mlm.build(model, VOCABULARY), mesh)
    state, losses = init_state(config, mesh), []
    for _ in range(60):
        state, metrics = update(state | {"step": jax.device_put(0, state["step"].sharding)}, make_batch(0))
        losses.append(float(metrics["loss"]))
    assert losses[0] == pytest.approx(np.log(V), abs=0.3)
    assert losses[-1] < losses[0] - 1


def test_what_an_objective_tells_is_logged_as_means_over_the_whole_batch() -> None:
    plain = mlm.build(MODEL, VOCABULARY)

    def corrupt(batch: dict, key: jax.Array) -> dict:
        return plain.corrupt(batch, key) | {"text": normalized((batch["segments"] > 0).astype(jnp.float32))}

    def loss(params: dict, constants: Any, batch: dict, key: jax.Array) -> tuple:
        total, metrics = plain.loss(params, constants, batch, key)
        return total, metrics | {"position": (batch["positions"] * batch["text"]).sum()}

    phase = dataclasses.replace(PHASE, microbatches=4)
    config, mesh = make_config(phases=(phase,)), sharding.make_mesh(Mesh(), jax.devices()[:1])
    batch = make_batch(3)
    update = jit_train_step(config, phase, plain._replace(corrupt=corrupt, loss=loss), mesh)
    _, metrics = update(init_state(config, mesh), sharding.put_batch(batch, mesh))
    np.testing.assert_allclose(metrics["position"], batch["positions"][batch["segments"] > 0].mean(), rtol=1e-6)
    assert 0 <= metrics["accuracy"] <= 1


def test_gradients_are_scaled_to_the_limit_and_tell_their_norm_before() -> None:
    tree = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}
    scaled, norm = clipped(tree, 1.0)
    assert norm == 5
    np.testing.assert_allclose(scaled["a"], [0.6, 0])
    np.testing.assert_array_equal(clipped(tree, 0.0)[0]["b"], tree["b"])
    np.testing.assert_array_equal(clipped(tree, 6.0)[0]["b"], tree["b"])
    assert all(jnp.all(x == 0) for x in jax.tree.leaves(clipped(jax.tree.map(jnp.zeros_like, tree), 1.0)[0]))


def test_moments_lie_where_their_parameters_do() -> None:
    mesh = sharding.make_mesh(Mesh(data=1, fsdp=2, tensor=2))
    state = abstract_state(make_config(), mesh)
    moments = [x for x in jax.tree.leaves(state["opt_state"]) if x.ndim]
    params = jax.tree.leaves(state["params"])
    assert len(moments) == 2 * len(params)
    assert [m.sharding.spec for m in moments] == 2 * [p.sharding.spec for p in params]
    assert any("fsdp" in p.sharding.spec for p in params)


def test_phases_follow_each_other() -> None:
    config = make_config(phases=(PHASE, dataclasses.replace(PHASE, steps=5, learning_rate=1e-3)))
    assert [phase_at(config, s)[0::2] for s in (0, 29, 30, 34)] == [(0, 0), (0, 29), (1, 0), (1, 4)]
    rate = learning_rate(config)
    assert float(rate(2)) == pytest.approx(1e-2, rel=0.1)
    assert float(rate(32)) == pytest.approx(1e-3, rel=0.1)
    with pytest.raises(ValueError, match="past the last phase"):
        phase_at(config, 35)


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (Mesh(data=3), "config.mesh is"),
        (Mesh(data=1, tensor=3), "config.mesh is"),
        (Mesh(data=-1, tensor=8), "config.mesh is"),
    ],
)
def test_a_mesh_that_the_devices_do_not_fill(mesh: Mesh, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sharding.make_mesh(mesh)


def test_a_batch_or_model_that_does_not_divide() -> None:
    with pytest.raises(ConfigError, match="is 6 rows, which replica × data × fsdp = 4 devices do not divide"):
        state_sharding.check(
            make_config(phases=(dataclasses.replace(PHASE, batch_size=6),)), sharding.make_mesh(Mesh())
        )
    model = dataclasses.replace(MODEL, heads=3)
    with pytest.raises(ConfigError, match=r"config.mesh.tensor is 4, which does not divide model.heads=3"):
        state_sharding.check(make_config(model=model), sharding.make_mesh(Mesh(data=1, tensor=4)))


def test_the_step_is_traced_on_its_mesh() -> None:
    """Kernels that XLA cannot split ask for it; without it they would run on the whole batch at once."""
    mesh = sharding.make_mesh(Mesh(data=2, fsdp=1, tensor=2))
    config, seen = make_config(), []
    plain = mlm.build(config.model, VOCABULARY)

    def loss(*arguments):
        seen.append(jax.sharding.get_abstract_mesh())
        return plain.loss(*arguments)

    step = jit_train_step(config, PHASE, plain._replace(loss=loss), mesh)
    step.trace(abstract_state(config, mesh), make_batch(0))
    assert seen[0].shape == mesh.shape
    assert seen[0].abstract_device.platform == jax.default_backend()


def test_the_learning_rate_follows_the_phases_after_skipped_updates() -> None:
    """A poisoned loss skips three updates of the first phase; the second one still begins with its own rate."""
    constant = use("linear", warmup=0, end=1.0)
    phases = tuple(dataclasses.replace(PHASE, steps=4, learning_rate=rate, schedule=constant) for rate in (1e-2, 1e-5))
    config = make_config(phases=phases, optimizer=use("adamw", weight_decay=0.0), guard=Guard(on=True))
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
    built = load("bert_jax.objectives", config.objective)(config.model, VOCABULARY)

    def loss(params, constants, batch, key):
        value, metrics = built.loss(params, constants, batch, key)
        return value * batch["poison"].max(), metrics

    objective = built._replace(loss=loss)
    state, moved, rates = init_state(config, mesh), [], []
    update = jax.jit(make_train_step(config, phases[0], objective))
    for step in range(6):
        batch = make_batch(step)
        batch["poison"] = np.full(batch["tokens"].shape, np.inf if step < 3 else 1.0, np.float32)
        before = state["params"]
        state, metrics = update(state, batch)
        differences = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), before, state["params"])
        moved.append(max(jax.tree.leaves(differences)))
        rates.append(float(metrics["learning_rate"]))
    np.testing.assert_allclose(rates, [1e-2] * 4 + [1e-5] * 2, rtol=1e-6)
    assert moved[:3] == [0, 0, 0]
    assert moved[3] == pytest.approx(1e-2, rel=0.01)
    assert 1e-6 < moved[4] < 2e-5
