"""What devices exchange in a step: gradients once, and weights where they are split; never the activations."""

import dataclasses
import math

import jax
import pytest
import test_train_step as tiny

from bert_jax.analysis.hlo import Program
from bert_jax.config import Mesh
from bert_jax.modeling import bert, heads
from bert_jax.objectives import mlm
from bert_jax.runtime import sharding
from bert_jax.training.state import abstract_state
from bert_jax.training.step import jit_train_step

B = 64  # rows enough that activations are larger than weights
PHASE = dataclasses.replace(tiny.PHASE, batch_size=B)
WEIGHTS = 4 * sum(
    math.prod(x.shape) for x in jax.tree.leaves(bert.abstract_params(tiny.MODEL, heads.parts(tiny.MODEL, "mlm_head")))
)  # bytes


def exchanged(mesh_config: Mesh, microbatches: int = 1) -> dict[str, int]:
    """Bytes of a step's collectives by kind."""
    phase = dataclasses.replace(PHASE, microbatches=microbatches)
    config, mesh = tiny.make_config(mesh_config, phases=(phase,)), sharding.make_mesh(mesh_config)
    batch = {
        name: jax.ShapeDtypeStruct((B, *x.shape[1:]), x.dtype, sharding=sharding.batch_sharding(mesh))
        for name, x in tiny.make_batch(0).items()
    }
    step = jit_train_step(config, phase, mlm.build(config.model, tiny.VOCABULARY), mesh)
    program = Program(step.trace(abstract_state(config, mesh), batch).lower().compile().as_text(), mesh.size)
    found: dict[str, int] = {}
    for c in program.collectives:
        found[c.kind] = found.get(c.kind, 0) + c.bytes * c.times
    return found


@pytest.mark.parametrize("microbatches", [1, 4])
@pytest.mark.parametrize("mesh", [pytest.param(Mesh(data=4), marks=pytest.mark.slow), Mesh(replica=2, data=2)], ids=str)
def test_copies_exchange_each_gradient_once(mesh, microbatches) -> None:
    found = exchanged(mesh, microbatches)
    assert found.pop("all-reduce") == pytest.approx(WEIGHTS, rel=0.01)
    assert not found


@pytest.mark.slow
def test_split_weights_are_brought_to_the_rows() -> None:
    """Gathered forward and backward, and the gradients added up."""
    activations = 4 * B * tiny.L * tiny.MODEL.width
    assert activations > 3 * WEIGHTS
    found = exchanged(Mesh(data=1, fsdp=4))
    assert sum(found.values()) < 3 * WEIGHTS
