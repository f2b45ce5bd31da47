"""Training step for step as PyTorch does; `benchmarks/parity.py` is the long form."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from bert_jax.config import Phase

pytestmark = pytest.mark.torch
SPEC = importlib.util.spec_from_file_location("parity", Path(__file__).parents[3] / "benchmarks" / "parity.py")
parity = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(parity)


@pytest.mark.parametrize("scheme", ["BERT", "NEZHA, clipped", pytest.param("NEZHA, unclipped", marks=pytest.mark.slow)])
def test_the_losses_are_pytorchs_at_every_step(scheme):
    model = dataclasses.replace(
        parity.MODEL,
        positions=parity.SCHEMES[scheme],
        vocab_size=101,
        layers=2,
        width=24,
        heads=3,
        mlp_width=40,
        max_length=37,
    )
    ours, theirs = parity.both(model, Phase(steps=20, length=37, batch_size=6, learning_rate=2e-3))
    np.testing.assert_allclose(ours, theirs, rtol=parity.LIMIT)
    assert ours[-5:].mean() < ours[:5].mean()
    assert len(set(ours.tolist())) == 20
