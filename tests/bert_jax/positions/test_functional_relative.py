"""Functional relative positions, clipped and not, against the definition with its [L, L, H] array in NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.config import Model
from bert_jax.modeling.kernels import xla
from bert_jax.modeling.positions import functional_relative
from bert_jax.modeling.positions._sinusoids import sinusoids
from bert_jax.modeling.visibility import within
from configuration.variants import ConfigError

LENGTH, HEADS, SIZE = 37, 3, 6


def scheme(max_distance: int, size: int = SIZE, **model) -> functional_relative.FunctionalRelative:
    return functional_relative.build(Model(width=HEADS * size, heads=HEADS, **model), max_distance=max_distance)


def distances(max_distance: int, length: int) -> np.ndarray:
    """float64 [L, L, H]: the sinusoid of key − query, clipped and shifted as in NEZHA's code, or plain."""
    index = np.arange(length)[None] - np.arange(length)[:, None]
    if max_distance:
        index = np.clip(index, -max_distance, max_distance) + max_distance
    angles = index[..., None] / 10000 ** (2 * np.arange(SIZE // 2) / SIZE)
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(length, length, SIZE)


def definition(q, k, v, segments, max_distance, window=LENGTH):
    """[B, L, N, H] in float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    r = distances(max_distance, q.shape[1])
    scores = (np.einsum("binh,bjnh->bnij", q, k) + np.einsum("binh,ijh->bnij", q, r)) / SIZE**0.5
    near = np.abs(np.subtract.outer(*[np.arange(q.shape[1])] * 2)) <= window
    same = (segments[:, None, :, None] == segments[:, None, None, :]) & near
    e = np.where(same, np.exp(scores - scores.max(-1, keepdims=True)), 0)
    p = e / e.sum(-1, keepdims=True)
    return np.einsum("bnij,bjnh->binh", p, v) + np.einsum("bnij,ijh->binh", p, r)


def inputs(length: int):
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 2, length, HEADS, SIZE)).astype(np.float32)
    segments = np.repeat([[1, 2, 0]], [length // 3, length - length // 3 - 2, 2], axis=1)
    return q, k, v, np.concatenate([segments, segments[:, ::-1]]).astype(np.int32)


def attend(scheme, q, k, v, segments, window=None):
    form = scheme.forms(q.shape[1], window is not None)[-1]  # the one that the reference kernel takes
    tables = form.tables(jnp.zeros(q.shape[:2]), None)
    q, k, v = form.transform_qkv(*map(jnp.asarray, (q, k, v)), tables, None)
    out = xla.attend(q, k, v, within(segments, window), scale=SIZE**-0.5, addition=form.addition(tables, None))
    return form.transform_output(out, tables)


@pytest.mark.parametrize("max_distance", [0, 1, 4, 35, 36, 64])  # up to 35 by the table, from 36 by wider heads
def test_equal_to_the_definition(max_distance):
    arrays = inputs(LENGTH)
    positions = scheme(max_distance)
    assert (positions.forms(LENGTH)[-1].needs == "vectors") == (0 < max_distance < LENGTH - 1)
    exact = definition(*arrays, max_distance)
    assert np.abs(attend(positions, *arrays) - exact).max() <= 3e-6 * np.abs(exact).max()


@pytest.mark.parametrize("window", [4, 5])  # by wider heads, by the table
def test_local_layers_clip_nothing_within_a_short_window(window):
    arrays = inputs(LENGTH)
    positions = scheme(4, window=window, global_every=2)
    assert positions.forms(LENGTH, local=True)[-1].needs == ("nothing" if window == 4 else "vectors")
    exact = definition(*arrays, 4, window)
    assert np.abs(attend(positions, *arrays, window) - exact).max() <= 3e-6 * np.abs(exact).max()


def test_clipping_matters_where_distances_are_longer():
    arrays = inputs(LENGTH)
    assert np.abs(definition(*arrays, 4) - definition(*arrays, 5)).max() > 1e-3
    assert np.abs(definition(*arrays, 0) - definition(*arrays, 64)).max() > 1e-3  # the shift of released checkpoints


def test_angles_stay_exact_far_from_the_start():
    rows = np.asarray(sinusoids(jnp.arange(4096), 64), np.float64)
    angles = np.arange(4096)[:, None] / 10000 ** (2 * np.arange(32) / 64)
    exact = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(4096, 64)
    assert np.abs(rows - exact).max() < 5e-4  # float32 angles near 4096 are 2.4e-4 apart


@pytest.mark.parametrize("max_distance", [0, 64])
def test_no_array_of_length_by_length_by_head_size(max_distance):
    """Forward and backward of one head at length 512 and head size 64 take far less than [512, 512, 64] would."""
    positions = functional_relative.build(Model(width=64, heads=1), max_distance=max_distance)
    shape = jax.ShapeDtypeStruct((1, 512, 1, 64), jnp.float32)
    loss = lambda q, k, v, segments: attend(positions, q, k, v, segments).sum()
    segments = jax.ShapeDtypeStruct((1, 512), jnp.int32)
    compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(shape, shape, shape, segments).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 512 * 512 * 64 * 4 / 4


def test_refusals():
    with pytest.raises(ConfigError, match=r"config.model.heads is 3: heads of 5 cannot .* must be even"):
        scheme(4, size=5)
    with pytest.raises(ConfigError, match=r"config.model.positions.max_distance is -1; it must be 0"):
        functional_relative.build(Model(), max_distance=-1)
