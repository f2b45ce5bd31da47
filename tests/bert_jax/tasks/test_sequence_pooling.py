"""Poolings of sequence tasks against NumPy in float64, packed, with gradients, and what is said of their export."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax import convert
from bert_jax.config import Model
from bert_jax.modeling import bert, heads
from bert_jax.tasks._pooling import Pooling, pooled, pooling_heads
from configuration.foreign import FormatError
from configuration.variants import ConfigError, use

MODEL = Model(vocab_size=101, layers=5, width=24, heads=3, mlp_width=20, max_length=37)
POOLINGS = Pooling.__args__


def packed_rows(rng):
    """Two rows of three and of two examples, places where they begin."""
    lengths = np.array([[9, 4, 20], [30, 5, 0]])
    starts = np.cumsum(lengths, 1) - lengths
    segments, positions = np.zeros((2, 37), np.int32), np.zeros((2, 37), np.int32)
    for row in range(2):
        for number, (first, size) in enumerate(zip(starts[row], lengths[row], strict=True)):
            segments[row, first : first + size] = number + 1
            positions[row, first : first + size] = np.arange(size)
    tokens = np.where(segments > 0, rng.integers(5, 101, (2, 37)), 0).astype(np.int32)
    types = np.zeros((2, 37), np.int32)
    batch = {"tokens": tokens, "segments": segments, "positions": positions, "token_types": types}
    return batch | {"places": starts.astype(np.int32)}, lengths


def params_of(pooling, model=MODEL):
    params = jax.device_get(bert.init(model, jax.random.key(2), heads.parts(model, *pooling_heads(model, pooling))))
    if pooling == "learned_layers":
        assert params["layer_mix"]["weights"].tolist() == [0.0] * model.layers
        assert params["layer_mix"]["scale"].tolist() == [1.0]
        params["layer_mix"] = {
            "weights": np.linspace(-1, 2, model.layers).astype(np.float32),
            "scale": np.array([1.7], np.float32),
        }
    return params


def reference(pooling, params, states, start, size):
    """Of one example, from the states of every layer, float64 [n, L, D]."""
    states = np.asarray(states, np.float64)
    own, firsts = states[-1, start : start + size], states[:, start]
    if pooling == "cls":
        kernel, bias = (np.asarray(params["pooler"][name], np.float64) for name in ("kernel", "bias"))
        return np.tanh(firsts[-1] @ kernel + bias)
    if pooling == "last_four":
        return (firsts[-1] + firsts[-2] + firsts[-3] + firsts[-4]) / 4
    if pooling == "learned_layers":
        weights = np.exp(np.asarray(params["layer_mix"]["weights"], np.float64))
        return float(params["layer_mix"]["scale"][0]) * (weights / weights.sum()) @ firsts
    return own.mean(0) if pooling == "mean" else own.max(0)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_as_numpy_in_float64(pooling) -> None:
    batch, lengths = packed_rows(np.random.default_rng(0))
    params = params_of(pooling)
    found = np.asarray(jax.jit(lambda params: pooled(MODEL, params, batch, pooling, None))(params))
    assert found.shape == (2, 3, 24)
    states = np.asarray(bert.encode(MODEL, params, batch, every_layer=True))
    for row, number in np.argwhere(lengths > 0):
        start, size = batch["places"][row, number], lengths[row, number]
        wanted = reference(pooling, params, states[:, row], start, size)
        np.testing.assert_allclose(found[row, number], wanted, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_parameter_that_a_pooling_trains_has_a_gradient(pooling) -> None:
    batch, lengths = packed_rows(np.random.default_rng(1))
    there = jnp.asarray(lengths > 0)[..., None]
    loss = lambda params: (jnp.sin(pooled(MODEL, params, batch, pooling, None)) * there).sum()
    gradients = jax.jit(jax.grad(loss))(params_of(pooling))
    for name in pooling_heads(MODEL, pooling):
        for gradient in jax.tree.leaves(gradients[name]):
            assert np.abs(gradient).min() > 0


def test_the_last_four_of_fewer_layers_are_refused() -> None:
    few = dataclasses.replace(MODEL, layers=3)
    with pytest.raises(ConfigError, match=r"task\.pooling is .last_four.; it must be another for .* of 3 layers"):
        pooling_heads(few, "last_four")


@pytest.mark.parametrize("pooling", POOLINGS)
def test_an_export_that_would_answer_otherwise_is_refused(pooling) -> None:
    task = use("classification", pooling=pooling)
    if pooling == "cls":
        convert.check_pooling(task)
        convert.check_pooling(use("tagging"))
        return
    with pytest.raises(FormatError, match=f"task.pooling is '{pooling}', and every class of transformers .* reads"):
        convert.check_pooling(task)
