"""Disentangled attention in training."""

import dataclasses

import numpy as np
import pytest
import test_train_step as tiny

from bert_jax.config import Mesh, use


@pytest.mark.parametrize("share_keys", [True, False])
def test_it_trains_alike_on_every_mesh(share_keys: bool) -> None:
    positions = use("disentangled", buckets=6, max_distance=20, share_keys=share_keys)
    model = dataclasses.replace(tiny.MODEL, positions=positions)
    train = lambda mesh, devices: tiny.run(tiny.make_config(mesh, model=model), devices, steps=3)
    _, alone = train(Mesh(), 1)
    assert alone[-1] < alone[0]
    np.testing.assert_allclose(train(Mesh(1, 1, 2, 2), 4)[1], alone, rtol=1e-5)
