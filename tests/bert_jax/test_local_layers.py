"""Layers that attend within a window, in training."""

import dataclasses
import math

import jax
import numpy as np
import pytest
import test_train_step as tiny

from bert_jax.config import Mesh, Phase, use
from bert_jax.runtime import sharding
from bert_jax.training.setup import kernels
from bert_jax.training.state import init_state
from bert_jax.training.step import jit_train_step
from configuration.variants import load

WINDOWS = {"window": 4, "positions": use("rotary", local_base=500.0)}


def losses(mesh: Mesh, model, steps: int = 3) -> list[float]:
    config = tiny.make_config(mesh, model=model)
    devices = sharding.make_mesh(config.mesh, jax.devices()[: math.prod(dataclasses.astuple(mesh))])
    objective = load("bert_jax.objectives", config.objective)(config.model, tiny.VOCABULARY)
    update, found = jit_train_step(config, config.phases[0], objective, devices), []
    state = init_state(config, devices)
    for step in range(steps):
        state, metrics = update(state, sharding.put_batch(tiny.make_batch(step), devices), ())
        found.append(float(metrics["loss"]))
    return found


@pytest.mark.parametrize(
    "change",
    [
        {"global_every": 2, "sharing": "attention"},
        {"global_every": 0, "kernel": use("blocks", block=4)},  # 37 tokens in blocks of 4, with dropout
    ],
    ids=str,
)
def test_they_train_alike_on_every_mesh(change) -> None:
    model = dataclasses.replace(tiny.MODEL, **WINDOWS, **change)
    alone = losses(Mesh(1, 1, 1, 1), model)
    assert alone[-1] < alone[0]
    np.testing.assert_allclose(losses(Mesh(1, 2, 2, 1), model), alone, rtol=1e-5)


def test_the_log_names_the_kernels_of_both_kinds_of_layers() -> None:
    model = dataclasses.replace(tiny.MODEL, max_length=512, window=64, global_every=2)
    phase = Phase(steps=1, length=512, batch_size=2, learning_rate=1e-3)
    config = dataclasses.replace(tiny.make_config(model=model), phases=(phase,))
    of_global, of_local = kernels(config, sharding.make_mesh(Mesh(), jax.devices()[:1]))
    assert of_global.startswith("attention kernel: chunked, ")
    assert of_local.startswith("attention kernel of local layers: blocks, ")
