"""In-batch negatives over the whole batch: one device, four, microbatches; all the same loss and gradient."""

import functools

import jax
import numpy as np
import pytest

from bert_jax.config import Mesh, Model
from bert_jax.embedding import gradient_cache, losses, pooling
from bert_jax.modeling import bert
from bert_jax.runtime import sharding
from configuration.variants import use

B, T, L, V = 16, 3, 11, 101
MODEL = Model(vocab_size=V, layers=2, width=12, heads=2, mlp_width=20, max_length=L, init_std=0.3)
MEAN = pooling.Pooling(("mean",))
ENCODE = functools.partial(pooling.example_vectors, MODEL, MEAN)


def make_batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, L + 1, (B, T, 1))
    segments = (np.arange(L) < lengths).astype(np.int32)
    weights = np.where(np.arange(B) < B - 3, rng.uniform(0.5, 2, B), 0)  # three examples are padding
    return {
        "tokens": (rng.integers(5, V, (B, T, L)) * segments).astype(np.int32),
        "segments": segments,
        "positions": np.broadcast_to(np.arange(L, dtype=np.int32), (B, T, L)).copy(),
        "token_types": np.zeros((B, T, L), np.int32),
        "example_weights": (weights / weights.sum()).astype(np.float32),
        "text_ids": rng.integers(0, B, (B, T)).astype(np.int32),  # some are equal
    }


def make(variant):
    params = bert.init(MODEL, jax.random.key(0), losses.parts_of(variant, MODEL))
    return losses.build_loss(variant, MODEL), params


def run(variant, devices: int, parts: int, key=None, mesh: Mesh | None = None):
    loss, params = make(variant)
    made = sharding.make_mesh(mesh or Mesh(), jax.devices()[:devices])
    batch = sharding.put_batch(make_batch(), made)
    step = lambda params, batch: gradient_cache.gradients(ENCODE, loss.value, params, batch, key, parts)
    return jax.device_get(jax.jit(sharding.on_mesh(made, step))(params, batch))


def assert_same(found, wanted) -> None:
    for name in wanted[1]:
        np.testing.assert_allclose(found[1][name], wanted[1][name], rtol=1e-6)
    largest = max(np.abs(x).max() for x in jax.tree.leaves(wanted[0]))
    for ours, theirs in zip(jax.tree.leaves(found[0]), jax.tree.leaves(wanted[0]), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6 * max(1.0, largest))


LOSSES = (use("multiple_negatives", both_directions=True), use("simcse", projection=True))


@pytest.fixture(scope="module", params=LOSSES, ids=lambda variant: variant.name)
def alone(request):
    return request.param, run(request.param, devices=1, parts=1)


@pytest.mark.parametrize(("devices", "parts"), [(4, 1), (1, 4), (4, 4), pytest.param(4, 2, marks=pytest.mark.slow)])
def test_devices_and_microbatches_change_nothing(alone, devices: int, parts: int) -> None:
    variant, wanted = alone
    assert wanted[1]["loss"] > 0.1
    assert_same(run(variant, devices, parts), wanted)


def test_a_mesh_that_splits_weights_changes_nothing(alone) -> None:
    variant, wanted = alone
    assert_same(run(variant, 4, 2, mesh=Mesh(data=2, fsdp=2)), wanted)


def test_negatives_come_from_the_whole_batch() -> None:
    """A quarter of the batch alone has a smaller loss: it knows a quarter of the negatives."""
    loss, params = make(LOSSES[0])
    batch = make_batch()
    quarter = {name: x[:4] for name, x in batch.items()}
    quarter["example_weights"] = quarter["example_weights"] / quarter["example_weights"].sum()
    whole, part = (float(loss.value(params, ENCODE(params, b), b)[0]) for b in (batch, quarter))
    assert whole > part + 0.1


def test_both_forward_passes_have_the_same_dropout() -> None:
    """The gradient is that of the function whose parts have these keys, taken in one go."""
    loss, params = make(LOSSES[0])
    batch, key = make_batch(), jax.random.key(3)
    found = run(LOSSES[0], 1, 4, key)
    assert MODEL.dropout > 0

    def direct(params):
        keys = jax.random.split(key, 4)
        parts = gradient_cache.split(batch, 4)
        each = [ENCODE(params, {name: x[i] for name, x in parts.items()}, keys[i]) for i in range(4)]
        return loss.value(params, gradient_cache.join(jax.numpy.stack(each)), batch)[0]

    value, gradient = jax.jit(jax.value_and_grad(direct))(params)
    assert_same((found[0], {"loss": found[1]["loss"]}), (jax.device_get(gradient), {"loss": value}))
    assert_same(run(LOSSES[0], 4, 4, key), found)


def test_two_views_of_a_text_differ_by_dropout_alone() -> None:
    _, params = make(LOSSES[0])
    batch = {name: np.repeat(x[:, :1], 2, axis=1) for name, x in make_batch().items() if x.ndim == 3}
    same, other = ENCODE(params, batch), ENCODE(params, batch, jax.random.key(0))
    np.testing.assert_allclose(same[:, 0], same[:, 1], atol=1e-6)
    assert np.abs(np.asarray(other[:, 0] - other[:, 1])).max(-1).min() > 1e-3


def test_a_loss_with_weights_of_its_own_trains_them() -> None:
    loss, params = make(use("softmax"))
    batch = make_batch() | {"labels": np.arange(B) % 3}
    one, four = (gradient_cache.gradients(ENCODE, loss.value, params, batch, None, parts) for parts in (1, 4))
    assert_same(jax.device_get(four), jax.device_get(one))
    assert np.abs(one[0]["pair_classifier"]["kernel"]).max() > 1e-3
