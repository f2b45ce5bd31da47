"""Checkpoints: exact on any mesh, refused where they do not belong, and safe against damage and full disks."""

import dataclasses
import os
import re
import resource
import shutil
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from jax.sharding import NamedSharding, PartitionSpec

from bert_jax.checkpoints import kept
from bert_jax.checkpoints import manager as checkpoint
from bert_jax.checkpoints.changes import check_same
from bert_jax.checkpoints.checksums import checksum, checksums
from bert_jax.checkpoints.manager import Checkpointer, CheckpointError
from bert_jax.config import Checkpoints, Config, Mesh, Model, Phase
from bert_jax.runtime import sharding
from bert_jax.training.state import abstract_state
from configuration.flags import to_dict
from configuration.variants import ConfigError, use

CONFIG = Config(
    name="test",
    phases=(Phase(steps=9, length=8, batch_size=4, learning_rate=1e-3),),
    model=Model(vocab_size=101, layers=1, width=24, heads=4, mlp_width=48, max_length=8),
    optimizer=use("adamw"),
    checkpoints=Checkpoints(keep=2),
)


def make_state(abstract, seed: int):
    """Random numbers of the right shapes where they belong."""
    rng = np.random.default_rng(seed)

    def fill(x):
        values = rng.standard_normal(x.shape) if x.dtype == np.float32 else np.full(x.shape, seed)
        return jax.device_put(values.astype(x.dtype), x.sharding)

    return jax.tree.map(fill, abstract)


@pytest.fixture(scope="module")
def abstract():
    """A few arrays that stand for a train state."""
    mesh = sharding.make_mesh(Mesh(data=2, fsdp=2))
    shapes = {"params": {"w": ((16, 37), "fsdp"), "v": ((101,), None)}, "opt_state": {"w": ((16, 37), "fsdp")}}
    place = lambda leaf: jax.ShapeDtypeStruct(
        leaf[0], jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(leaf[1]))
    )
    step = jax.ShapeDtypeStruct((), jnp.int32, sharding=NamedSharding(mesh, PartitionSpec()))
    return jax.tree.map(place, shapes, is_leaf=lambda x: isinstance(x, tuple)) | {"step": step}


@pytest.fixture(scope="module")
def states(abstract):
    return {step: make_state(abstract, step) for step in (10, 20)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory, states) -> Path:
    """A work folder with the checkpoints of two steps; tests copy it before they touch it."""
    folder = tmp_path_factory.mktemp("saved")
    with Checkpointer(folder, CONFIG.checkpoints) as checkpoints:
        for step, state in states.items():
            checkpoints.save(step, state, CONFIG, "store")
    return folder


def assert_same(a, b) -> None:
    a, b = jax.device_get((a, b))
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def restore(folder: Path, abstract, config: Config = CONFIG, store: str = "store", accept_changes: bool = False):
    with Checkpointer(folder, config.checkpoints) as checkpoints:
        return checkpoints.restore(abstract, config, store, accept_changes)


def test_nothing_to_restore(tmp_path, abstract) -> None:
    assert restore(tmp_path, abstract) is None


def test_restores_every_bit_onto_another_mesh(tmp_path) -> None:
    state = make_state(abstract_state(CONFIG, sharding.make_mesh(Mesh())), 10)
    with Checkpointer(tmp_path, CONFIG.checkpoints) as checkpoints:
        checkpoints.save(10, state, CONFIG, "store")
    laid_out = abstract_state(CONFIG, sharding.make_mesh(Mesh(data=1, fsdp=2, tensor=2)))
    restored = restore(tmp_path, laid_out)
    assert_same(restored, state)
    for x, wanted in zip(jax.tree.leaves(restored), jax.tree.leaves(laid_out), strict=True):
        assert x.sharding == wanted.sharding
    _, params, step = checkpoint.restore_params(tmp_path)
    assert step == 10
    assert_same(params, state["params"])


def test_a_step_is_written_once(saved, abstract, states, tmp_path) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    with Checkpointer(tmp_path, CONFIG.checkpoints) as checkpoints:
        checkpoints.save(20, states[10], CONFIG, "store")
    assert_same(restore(tmp_path, abstract), states[20])


@pytest.mark.parametrize(
    ("change", "store", "grave"),
    [
        ({"seed": 3, "clip_norm": 0.5, "log_every": 7}, "store", "clip_norm 1.0 → 0.5, seed 0 → 3"),
        ({"optimizer": use("adamw", b1=0.8)}, "store", "optimizer.options.b1 None → 0.8"),
        ({"phases": (dataclasses.replace(CONFIG.phases[0], steps=8),)}, "store", "phases.0.steps 9 → 8"),
        ({}, "another store", "the store 'store' → 'another stor'"),
        ({"log_every": 7, "mesh": Mesh(fsdp=2)}, "store", ""),
        ({"data": dataclasses.replace(CONFIG.data, store="elsewhere", cache_gb=9.5, workers=3)}, "store", ""),
    ],
)
def test_changes_are_shown_and_refused_where_they_make_another_run(
    saved, abstract, states, capfd, change, store, grave
) -> None:
    config = dataclasses.replace(CONFIG, **change)
    if grave:
        with pytest.raises(
            ConfigError, match=rf"is another one: {re.escape(grave)}; set that back, .*--accept_changes"
        ):
            restore(saved, abstract, config, store)
    assert_same(restore(saved, abstract, config, store, accept_changes=bool(grave)), states[20])
    shown = capfd.readouterr().err
    assert all(part in shown for part in grave.split(", "))
    if "log_every" in change:
        assert "log_every 10 → 7" in shown
    if "mesh" in change:
        assert "mesh.fsdp 1 → 2" in shown


def test_nothing_is_said_without_a_change(saved, abstract, capfd) -> None:
    restore(saved, abstract)
    assert "changed" not in capfd.readouterr().err


def test_a_field_newer_than_the_checkpoint_is_no_change(capfd) -> None:
    run = {"config": to_dict(CONFIG), "store": "store"}
    del run["config"]["model"]["remat"]
    check_same(run, CONFIG, "store", "folder")
    run["config"]["model"]["old"] = 1
    with pytest.raises(ConfigError, match=r"model.old 1 → None"):
        check_same(run, CONFIG, "store", "folder")


def test_other_arrays_are_never_accepted(saved, abstract) -> None:
    wider = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, mlp_width=96))
    with pytest.raises(ConfigError, match=r"a model of other arrays: model.mlp_width 48 → 96"):
        restore(saved, abstract, wider, accept_changes=True)
    with pytest.raises(ConfigError, match=r"keeps other arrays \(opt_state.w\): set its optimizer back"):
        restore(saved, abstract | {"opt_state": {}}, accept_changes=True)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 4
    path.write_bytes(contents)


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink], ids=lambda f: f.__name__)
def test_a_damaged_file_never_goes_unnoticed(saved, abstract, states, tmp_path, capfd, damage) -> None:
    """Each file of the newest checkpoint in turn: the state is exact, or it is the one before's, and that is said."""
    newest = saved / "checkpoints" / "20"
    files = [path.relative_to(newest) for path in sorted(newest.rglob("*")) if path.is_file() and path.stat().st_size]
    assert len(files) > 5
    fell_back = []
    for number, file in enumerate(files):
        folder = tmp_path / str(number)
        shutil.copytree(saved, folder)
        damage(folder / "checkpoints" / "20" / file)
        _, _, state = checkpoint.read_newest(epath.Path(folder / "checkpoints"), [10, 20], lambda run: abstract)
        said = capfd.readouterr().err
        if "the checkpoint of step 20 in" in said:
            assert re.search(r"is damaged \(.+\); trying the one before", said)
            assert_same(state, states[10])
            fell_back.append(file)
        else:
            assert_same(state, states[20])
    assert any(file.parts[:2] == ("state", "d") for file in fell_back)  # where Orbax keeps the numbers


def test_a_damaged_checkpoint_gives_up_its_step(saved, abstract, states, tmp_path) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    flip(tmp_path / "checkpoints" / "20" / "run" / "metadata")
    with Checkpointer(tmp_path, CONFIG.checkpoints) as checkpoints:
        assert_same(checkpoints.restore(abstract, CONFIG, "store"), states[10])
        assert checkpoints.latest() == 10
        checkpoints.save(20, states[20], CONFIG, "store")
    assert_same(restore(tmp_path, abstract), states[20])
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["10", "20", "damaged-20"]


def test_parameters_alone_fall_back_too(tmp_path, capfd) -> None:
    states = {step: make_state(abstract_state(CONFIG, sharding.make_mesh(Mesh())), step) for step in (10, 20)}
    with Checkpointer(tmp_path, CONFIG.checkpoints) as checkpoints:
        for step, state in states.items():
            checkpoints.save(step, state, CONFIG, "store")
    flip(tmp_path / "checkpoints" / "20" / "run" / "metadata")
    config, params, step = checkpoint.restore_params(tmp_path)
    assert (config, step) == (CONFIG, 10)
    assert_same(params, states[10]["params"])
    assert "the checkpoint of step 20" in capfd.readouterr().err
    assert (tmp_path / "checkpoints" / "20").exists()  # reading changes nothing


def test_none_is_whole(saved, abstract, tmp_path) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    for step in ("10", "20"):
        truncate(tmp_path / "checkpoints" / step / "run" / "metadata")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole \(steps 10, 20\): restore the folder"):
        restore(tmp_path, abstract)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["10", "20"]


def test_which_are_kept(tmp_path) -> None:
    losses = {10: 5.0, 20: 3.0, 30: 4.0, 40: 9.0, 50: 3.5, 60: 7.0, 70: 6.0}
    settings = Checkpoints(keep=2, keep_every=40, keep_best=2, folder=str(tmp_path / "elsewhere"))
    with Checkpointer(tmp_path, settings) as checkpoints:
        for step, loss in losses.items():
            checkpoints.save(step, {"step": jnp.int32(step)}, CONFIG, "store", loss=loss)
            checkpoints.wait()
    kept = sorted(int(path.name) for path in (tmp_path / "elsewhere").iterdir())
    assert kept == [20, 40, 50, 60, 70]  # the best two, the multiple of 40, the last two
    assert not (tmp_path / "checkpoints").exists()


def test_a_disk_that_fills_during_a_save(saved, abstract, states, tmp_path) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save() -> None:
        with Checkpointer(tmp_path, CONFIG.checkpoints) as checkpoints:
            checkpoints.save(30, states[10], CONFIG, "store")
            checkpoints.wait()

    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))  # a file cannot grow beyond it, as on a full disk
    try:
        with pytest.raises(CheckpointError) as error:
            save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert re.search(
        r"could not be written to .*checkpoints: .+; the newest whole one is of step 20; make room", str(error.value)
    )
    assert_same(restore(tmp_path, abstract), states[20])
    names = lambda: sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    until = time.monotonic() + 60  # newer versions of Orbax clear half-written ones beside reading
    while names() != ["10", "20"] and time.monotonic() < until:
        time.sleep(0.05)
    assert names() == ["10", "20"]


class TestChecksum:
    def test_formula(self) -> None:
        x = np.random.default_rng(0).standard_normal((3, 5, 7)).astype(np.float32)
        index = np.arange(x.size, dtype=np.uint64).reshape(x.shape)
        wanted = (x.view(np.uint32).astype(np.uint64) * (2 * index + 1)).sum() % 2**32
        assert int(checksum(jnp.asarray(x))) == wanted

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "uint16", "bool"])
    def test_one_bit_changes_it(self, dtype) -> None:
        values = np.ones((37, 3), jnp.dtype(dtype))
        changed = values.copy()
        changed.view(np.uint8)[11, 1] ^= 1
        assert checksums({"x": values}) != checksums({"x": changed})

    def test_is_the_same_on_any_mesh(self, states) -> None:
        assert checksums(jax.device_get(states[10])) == checksums(states[10])


def test_kept_heads_are_written_again(tmp_path: Path) -> None:
    """After a run that ended between them and its first checkpoint."""
    for value in (1.0, 2.0):
        kept.write(epath.Path(tmp_path), {"head": {"bias": np.full(3, value)}})
    np.testing.assert_array_equal(kept.read(epath.Path(tmp_path))["head"]["bias"], np.full(3, 2.0))
